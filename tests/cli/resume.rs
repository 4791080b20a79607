//! Runs that are killed at any moment and resumed: every byte of the output is that of an undisturbed run. And what
//! `--resume` refuses, naming what is wrong and changing nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::fixture::{Model, linear, text};
use super::held::Held;
use super::{Case, Run, run, secateur};

const LAYERS: usize = 4;
/// Some tens of milliseconds a layer.
const SAMPLES: [&str; 6] = ["--samples", "48", "--length", "64", "--adapter", "cpu"];

type Files = BTreeMap<String, Vec<u8>>;

/// Every file under a folder with its contents.
fn files(folder: &Path) -> Files {
    let mut all = Files::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let below = files(&path).into_iter();
            all.extend(below.map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

fn assert_same(found: &Files, wanted: &Files, what: &str) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for (name, bytes) in wanted {
        assert!(found[name] == *bytes, "{what}: {name} differs");
    }
}

/// A linear congruential generator; in 0..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        let Random(state) = self;
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*state >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// When to kill.
#[derive(Clone, Copy)]
enum Moment {
    /// After this long.
    After(Duration),
    /// So long after stderr has a line with these words.
    Line(&'static str, Duration),
}

/// A checkpoint and the command that works on it.
struct Job {
    case: Case,
    command: &'static str,
    flags: Vec<String>,
}

impl Job {
    fn of(model: &Model, flags: &[&str]) -> Self {
        let case = Case::of(model);
        fs::write(case.text(), text(8000)).unwrap();
        let flags = [&SAMPLES, flags].concat().iter().map(|s| s.to_string()).collect();
        let command = "prune";
        Job { case, command, flags }
    }

    /// `secateur calibrate` in place of a prune; it solves nothing, so it gets more samples.
    fn calibrate() -> Self {
        let job = Self::new(&[]);
        fs::write(job.case.text(), text(60_000)).unwrap();
        let flags = ["--samples", "600", "--length", "64", "--adapter", "cpu"];
        Job {
            command: "calibrate",
            flags: flags.map(str::to_string).to_vec(),
            ..job
        }
    }

    fn new(flags: &[&str]) -> Self {
        Self::of(&Model::of_layers(LAYERS), flags)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = secateur();
        command.arg(self.command).arg(self.case.model());
        command.arg("--output").arg(self.case.output());
        command.arg("--calibration").arg(self.case.text());
        command.args(&self.flags).args(more);
        command
    }

    fn run(&self, more: &[&str]) -> Run {
        run(&mut self.command(more))
    }

    fn files(&self) -> Files {
        files(&self.case.output())
    }

    /// The files of an undisturbed run, which are then removed, and its seconds.
    fn undisturbed(&self) -> (Files, Duration) {
        let clock = Instant::now();
        self.run(&[]).succeeds();
        let taken = clock.elapsed();
        let files = self.files();
        fs::remove_dir_all(self.case.output()).unwrap();
        (files, taken)
    }

    /// Puts another value (of bf16) in place of an element of a weight file, and returns the one that was there.
    fn swap(&self, name: &str, element: usize, value: [u8; 2]) -> [u8; 2] {
        let file = self.case.model().join("model.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let entries: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
        let start = entries[name]["data_offsets"][0].as_u64().unwrap() as usize;
        let place = &mut bytes[header + start + 2 * element..][..2];
        let old = [place[0], place[1]];
        place.copy_from_slice(&value);
        fs::write(file, bytes).unwrap();
        old
    }

    fn start(&self, more: &[&str]) -> Child {
        let mut command = self.command(more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Starts a run and kills it; returns whether it was still running.
    fn killed(&self, more: &[&str], moment: &Moment) -> bool {
        let mut child = self.start(more);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let pause = match moment {
            Moment::After(pause) => *pause,
            Moment::Line(words, pause) => {
                let mut line = String::new();
                while !line.contains(words) {
                    line.clear();
                    if lines.read_line(&mut line).unwrap() == 0 {
                        break;
                    }
                }
                *pause
            }
        };
        std::thread::sleep(pause);
        child.kill().unwrap();
        !child.wait().unwrap().success()
    }

    /// A run killed after its first layer.
    fn suspended(&self) {
        self.suspended_at("layer 0 done");
    }

    fn suspended_at(&self, line: &str) {
        Held::at(&mut self.command(&[]), line).kill();
        assert!(self.case.output().join(".secateur/state.json").exists());
    }

    /// Resumes to the end, unless the run that was killed had come there.
    fn resumed(&self) -> Files {
        let run = self.run(&["--resume"]);
        if run.code != Some(0) {
            run.fails(1, &["output", "complete", "nothing to resume"]);
        }
        self.files()
    }

    /// Kills a run at `moment` and then, every other time, its resumption; the result must be `wanted`. A run that was over
    /// by then, on a machine that has become quicker, is begun anew and killed after half the time.
    fn survives(&self, moment: &Moment, again: Option<&Moment>, wanted: &Files) -> usize {
        let mut moment = *moment;
        let mut kills = loop {
            let _ = fs::remove_dir_all(self.case.output());
            match (self.killed(&[], &moment), moment) {
                (false, Moment::After(pause)) => moment = Moment::After(pause / 2),
                (killed, _) => break usize::from(killed),
            }
        };
        if let Some(again) = again {
            kills += usize::from(self.killed(&["--resume"], again));
        }
        assert_same(&self.resumed(), wanted, &format!("{:?}", self.flags));
        kills
    }
}

/// `count` moments of a run of this length, and after certain lines.
fn moments(random: &mut Random, count: usize, length: Duration) -> Vec<Moment> {
    let lines = ["tokenise and embed", "layer 0 done", "layer 3 done", "write and verify"];
    (0..count)
        .map(|i| match i % 5 {
            // A piece of the run each, so that all of it is covered.
            0..3 => Moment::After(length.mul_f64((i as f64 + random.next()) / count as f64)),
            _ => {
                let line = lines[(random.next() * lines.len() as f64) as usize];
                Moment::Line(line, length.mul_f64(0.03 * random.next()))
            }
        })
        .collect()
}

/// Kills `count` runs of a job.
fn kill(job: &Job, seed: u64, count: usize) {
    let mut random = Random(seed);
    let (wanted, length) = job.undisturbed();
    let mut kills = 0;
    for moment in moments(&mut random, count, length) {
        let again = moments(&mut random, 1, length).pop().filter(|_| random.next() < 0.4);
        kills += job.survives(&moment, again.as_ref(), &wanted);
    }
    assert!(
        kills >= count / 2,
        "only {kills} of {count} runs were still running when killed"
    );
}

#[test]
fn killed_with_dense_propagation_at_2_4() {
    kill(&Job::new(&["--pattern", "2:4"]), 1, 6);
}

#[test]
fn killed_while_it_calibrates() {
    kill(&Job::calibrate(), 7, 6);
}

#[test]
fn saved_layers_are_checked_before_a_run_goes_on() {
    let job = Job::calibrate();
    job.suspended();
    let file = job.case.output().join("layer-00000.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    job.run(&["--resume"])
        .fails(1, &["layer-00000.safetensors", "not as it was written"]);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    job.run(&["--resume"]).succeeds();
}

/// Whatever another command or method left, `--resume` says what it is, or begins anew where there is nothing to keep.
#[test]
fn resumed_by_another_method() {
    let with = |flags: &[&str]| Job::new(flags);
    let layers = with(&["--pattern", "2:4"]);
    fs::write(layers.case.text(), text(60_000)).unwrap();
    layers.suspended();
    let calibrate = Job {
        case: layers.case,
        ..Job::calibrate()
    };
    calibrate
        .run(&["--resume"])
        .fails(1, &["other settings", "method", "saves", "delete the folder"]);
    fs::remove_dir_all(calibrate.case.output()).unwrap();
    calibrate.suspended();
    let layers = Job {
        case: calibrate.case,
        ..with(&["--pattern", "2:4"])
    };
    layers
        .run(&["--resume"])
        .fails(1, &["other settings", "method", "saves", "delete the folder"]);
    fs::remove_dir_all(layers.case.output()).unwrap();
    // Folders of curvature factors, and no step that is kept.
    let shots = Job {
        case: layers.case,
        ..with(&["--sparsity", "0.5", "--method", "surgeon", "--shots", "2"])
    };
    Held::at(&mut shots.command(&[]), "shot 1 of 2: loss").kill();
    assert!(shots.case.output().join(".secateur").is_dir());
    let layers = Job {
        case: shots.case,
        ..with(&["--pattern", "2:4"])
    };
    layers.run(&["--resume"]).succeeds();
}

/// What follows a permutation is written twice, and biases that are no linear's follow too.
#[test]
fn killed_with_permuted_biases() {
    let mut model = Model::of_layers(LAYERS);
    model.config["mlp_bias"] = true.into();
    for layer in 0..LAYERS {
        for name in ["gate_proj", "up_proj", "down_proj"] {
            let mut bias = model.tensor(&linear(layer, &format!("mlp.{name}"))).clone();
            bias.name = bias.name.replace("weight", "bias");
            let values: Vec<f32> = bias.values()[..bias.shape[0]].to_vec();
            bias.shape.truncate(1);
            bias.set(&values);
            model.tensors.push(bias);
        }
    }
    let job = Job::of(&model, &["--pattern", "2:4", "--permute", "on", "--method", "wanda"]);
    kill(&job, 5, 6);
    let before = super::weights(&job.case.model());
    let moved = super::weights(&job.case.output()).into_iter().filter(|new| {
        let old = before.iter().find(|old| old.name == new.name).unwrap();
        new.name.ends_with("bias") && new != old
    });
    assert_eq!(moved.count(), 2 * LAYERS);
}

#[test]
fn killed_with_local_propagation_in_shards() {
    let mut model = Model::of_layers(LAYERS);
    model.shards = 5;
    kill(&Job::of(&model, &["--sparsity", "0.5", "--propagate", "local"]), 2, 5);
}

/// Two streams enter every layer.
#[test]
fn killed_with_both_streams() {
    kill(&Job::new(&["--sparsity", "0.5", "--propagate", "both"]), 9, 5);
}

#[test]
fn killed_with_pruned_propagation_and_half_activations() {
    let flags = ["--sparsity", "0.5", "--propagate", "pruned", "--activations", "bf16"];
    kill(&Job::new(&flags), 3, 5);
}

/// The budget is divided in a pass of its own, of which nothing is kept until the first layer is.
#[test]
fn killed_with_an_allocation() {
    kill(&Job::new(&["--sparsity", "0.7", "--allocation", "lsa"]), 6, 6);
}

/// From then on that pass is not gone through again, also where it weighs outputs.
#[test]
fn suspended_with_curvature() {
    let job = Job::new(&["--sparsity", "0.7", "--allocation", "curvature"]);
    let (wanted, _) = job.undisturbed();
    // That pass ends with layer 0, and all linears.
    let line = "layer 0 done, 7/28 linears";
    job.suspended_at(line);
    let run = job.run(&["--resume"]);
    assert!(!run.stderr.contains("measure every linear"), "{}", run.stderr);
    run.succeeds();
    assert_same(&job.files(), &wanted, "curvature");
    fs::remove_dir_all(job.case.output()).unwrap();
    job.suspended_at(line);
    let kept = job.case.output().join(".secateur/allocation.json");
    fs::write(&kept, "{\"shares\":{").unwrap();
    job.run(&["--resume"])
        .fails(1, &["allocation.json", "damaged", "start again without --resume"]);
    fs::remove_file(&kept).unwrap();
    job.run(&["--resume"])
        .fails(1, &["allocation.json", "missing", "start again without --resume"]);
}

/// The shots of LLM Surgeon are what is kept.
#[test]
fn killed_between_shots() {
    kill(
        &Job::new(&["--method", "surgeon", "--sparsity", "0.5", "--shots", "3"]),
        7,
        6,
    );
}

/// So are those of a search, whose rounds are not.
#[test]
fn killed_in_a_search() {
    kill(
        &Job::new(&["--method", "kfac-fista", "--sparsity", "0.5", "--shots", "3"]),
        8,
        6,
    );
}

#[test]
fn killed_with_activations_in_a_file() {
    for propagate in ["dense", "both"] {
        in_a_file(propagate);
    }
}

/// Half of each stream goes to a file.
fn in_a_file(propagate: &str) {
    let flags = format!("--pattern 2:4 --activations f32 --method wanda --layer-errors --propagate {propagate}");
    let mut job = Job::new(&flags.split(' ').collect::<Vec<_>>());
    let in_memory = job.undisturbed().0;
    let mut plan = job.command(&["--json"]);
    plan.arg("--dry-run");
    let plan = run(&mut plan).json();
    // The program fits, half of each stream does not.
    let ram = plan["host_bytes"].as_u64().unwrap() - plan["activation_bytes"].as_u64().unwrap();
    job.flags.extend(["--max-ram".into(), ram.to_string()]);
    let kept = job.run(&["--json", "--dry-run"]).json()["activation_ram"].as_u64();
    assert!(kept.is_some_and(|bytes| bytes < plan["activation_bytes"].as_u64().unwrap()));
    kill(&job, 4, 3);
    assert_same(&job.files(), &in_memory, "activations in a file");
}

#[test]
fn killed_at_the_turns() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    for line in ["tokenise and embed", "layer 0 done", "layer 3 done", "write and verify"] {
        job.survives(&Moment::Line(line, Duration::ZERO), None, &wanted);
    }
}

#[test]
fn without_a_run_to_resume() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    // Nothing there: a run as any other.
    job.run(&["--resume"]).succeeds();
    assert_same(&job.files(), &wanted, "new");
    job.run(&["--resume"]).fails(1, &["output", "nothing to resume"]);
    assert_same(&job.files(), &wanted, "finished");
    // Killed between two steps of its last removal.
    fs::create_dir(job.case.output().join(".secateur")).unwrap();
    job.run(&["--resume"]).fails(1, &["output", "nothing to resume"]);
    assert_same(&job.files(), &wanted, "cleared");
}

#[test]
fn a_folder_of_somebody_elses() {
    let job = Job::new(&["--pattern", "2:4"]);
    for names in [
        &["thesis.tex", "model.safetensors.tmp"][..],
        &["thesis.tex", ".secateur/thesis.tex"],
    ] {
        for name in names {
            let path = job.case.output().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "all of it").unwrap();
        }
        let before = job.files();
        job.run(&["--resume"]).fails(1, &["output", "not empty"]);
        assert_same(&job.files(), &before, "a stranger's folder");
        fs::remove_dir_all(job.case.output()).unwrap();
    }
}

#[test]
fn something_else_than_was_begun() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    job.suspended();
    let before = job.files();
    let refused = |more: &[&str], culprits: &[&str]| {
        job.run(&[&["--resume"], more].concat()).fails(1, culprits);
        assert_same(&job.files(), &before, "refused");
    };
    refused(
        &["--damping", "0.02"],
        &["other settings", "damping.fraction was 0.01 and is 0.02"],
    );
    refused(
        &["--method", "wanda", "--refit", "3"],
        &["method", "wanda", "refit was 10 and is 3"],
    );
    refused(&["--propagate", "pruned"], &["propagate"]);
    refused(&["--permute", "off"], &["permute"]);
    refused(&["--limit-layers", "3"], &["limit_layers"]);
    refused(&["--half-attention"], &["half_attention was null and is true"]);
    refused(&["--activations", "bf16"], &["activations"]);
    fs::write(job.case.text(), text(8001).replace("w1 ", "w2 ")).unwrap();
    refused(&[], &["calibration tokens"]);
    fs::write(job.case.text(), text(8000)).unwrap();
    let weight = linear(3, "mlp.up_proj");
    let old = job.swap(&weight, 0, [1, 1]);
    refused(&[], &["model"]);
    job.swap(&weight, 0, old);
    job.run(&["--resume"]).succeeds();
    assert_same(&job.files(), &wanted, "as it was begun");
}

#[test]
fn a_damaged_state() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    job.suspended();
    let before = job.files();
    let output = job.case.output();
    let refused = |name: &str, bytes: &[u8], culprits: &[&str]| {
        fs::write(output.join(name), bytes).unwrap();
        job.run(&["--resume"]).fails(1, &[&[name, "output"], culprits].concat());
        fs::write(output.join(name), &before[name]).unwrap();
        assert_same(&job.files(), &before, name);
    };
    let state = &before[".secateur/state.json"];
    refused(
        ".secateur/state.json",
        &state[..state.len() / 2],
        &["damaged", "delete"],
    );
    refused(".secateur/state.json", b"[]", &["damaged", "version"]);
    let other = String::from_utf8_lossy(state).replacen("\"key\": \"", "\"key\": \"0", 1);
    refused(".secateur/state.json", other.as_bytes(), &["damaged", "key"]);
    let name = before.keys().find(|name| name.contains("activations")).unwrap();
    let mut stream = before[name].clone();
    let middle = stream.len() / 2;
    stream[middle] ^= 1;
    refused(name, &stream, &["damaged", "checksum"]);
    refused(name, &stream[1..], &["damaged"]);
    fs::remove_file(output.join(name)).unwrap();
    refused(name, b"", &["damaged"]);
    let weights = "model.safetensors.tmp";
    refused(weights, &before[weights][1..], &["cannot be continued", "instead of"]);
    job.run(&["--resume"]).succeeds();
    assert_same(&job.files(), &wanted, "mended");
}

/// What is done is kept whatever stops a run: here a damaged weight of a later layer, which can be fetched again.
#[test]
fn a_weight_that_is_mended() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    let weight = linear(2, "mlp.down_proj");
    let old = job.swap(&weight, 700, [0xc0, 0x7f]);
    let culprits = [
        "layers.2.mlp.down_proj",
        "element 700",
        "2 of 4 decoder layers",
        "--resume",
    ];
    job.run(&[]).fails(1, &culprits);
    job.run(&["--resume"]).fails(1, &culprits);
    job.swap(&weight, 700, old);
    job.run(&["--resume"]).succeeds();
    assert_same(&job.files(), &wanted, "mended");
}

#[test]
fn two_at_a_time() {
    let job = Job::new(&["--pattern", "2:4"]);
    let (wanted, _) = job.undisturbed();
    let first = Held::at(&mut job.command(&[]), "layer 0 done");
    // Halted too, where it cannot be held.
    first.signal("-STOP");
    for more in [&["--resume"][..], &[]] {
        job.run(more).fails(1, &["output", "another process"]);
    }
    first.signal("-CONT");
    first.finish().succeeds();
    assert_same(&job.files(), &wanted, "the first");
}
