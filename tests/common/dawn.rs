//! Dawn as a device: a Node process that plays each dispatch (`tests/common/dawn.mjs`), so that the shaders run on what Tint
//! makes of them, within the bounds that hold on wgpu.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use secateur::gpu::{Foreign, Gpu, GpuOptions, HostCall, Kernel, Limits, compose};
use serde_json::{Value, json};

/// The device; `SECATEUR_DAWN` names the folder with `node_modules/webgpu`.
pub(crate) fn open(options: GpuOptions) -> Gpu {
    let packages =
        std::env::var_os("SECATEUR_DAWN").expect("SECATEUR_DAWN: the folder of node_modules, see scripts/test");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/common/dawn.mjs");
    let mut child = Command::new("node")
        .args([script.as_os_str(), &packages])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut dawn = Process {
        child,
        input,
        output: BufReader::new(output),
        known: HashSet::new(),
    };
    let hello = dawn.line().expect("Dawn opens a device");
    let limit = |name: &str| hello[name].as_u64().expect("a limit");
    let limits = Limits {
        binding: limit("binding"),
        buffer: limit("buffer"),
        alignment: limit("alignment"),
    };
    let name = format!("Dawn on {}", hello["name"].as_str().expect("a name"));
    Gpu::foreign(&name, limits, options, Box::new(Dawn(Mutex::new(dawn))))
}

struct Dawn(Mutex<Process>);

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Shaders that were sent.
    known: HashSet<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|e| e.to_string())?;
        serde_json::from_str(&line).map_err(|e| format!("Dawn's process says `{line}`: {e}"))
    }

    fn play(&mut self, kernel: &Kernel, call: &mut HostCall<'_>, groups: [u32; 3]) -> Result<(), String> {
        let key = format!("{} {:?}", kernel.stem, call.knobs);
        let source = match self.known.insert(key.clone()) {
            true => Some(compose(kernel, call.knobs).map_err(|e| e.to_string())?),
            false => None,
        };
        let lengths = |slices: Vec<usize>| slices.iter().map(|words| 4 * words).collect::<Vec<_>>();
        let head = json!({
            "key": key,
            "source": source,
            "groups": groups,
            "params": call.params.len(),
            "reads": lengths(call.reads.iter().map(|words| words.len()).collect()),
            "writes": lengths(call.writes.iter().map(|words| words.len()).collect()),
        });
        let mut send = |bytes: &[u8]| {
            self.input
                .write_all(bytes)
                .map_err(|e| format!("to Dawn's process: {e}"))
        };
        send(format!("{head}\n").as_bytes())?;
        send(call.params)?;
        for words in &call.reads {
            send(bytemuck::cast_slice(words))?;
        }
        for words in &call.writes {
            send(bytemuck::cast_slice(words))?;
        }
        self.input.flush().map_err(|e| e.to_string())?;
        let answer = self.line()?;
        if let Some(message) = answer["error"].as_str() {
            return Err(message.to_string());
        }
        for words in &mut call.writes {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
            self.output.read_exact(bytes).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

impl Foreign for Dawn {
    fn dispatch(&self, kernel: &'static Kernel, call: &mut HostCall<'_>, groups: [u32; 3]) -> Result<(), String> {
        // A test that failed meanwhile left the process between two dispatches.
        let mut process = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        process.play(kernel, call, groups)
    }
}
