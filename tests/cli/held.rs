//! A run that is held at a line of its progress: it waits there until it is killed, interrupted or let go. So a test can
//! say what the run has done by then, however long the test itself was kept from the processor.
//!
//! On Linux each piece of text that the run writes is a packet of its pipe, which has room for one: until the packet is
//! read the run waits to write the next, which is the end of the same line at the latest. Elsewhere the run goes on.

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::process::{Child, Command, Stdio};

use super::Run;

/// Bytes of a packet at most.
const PACKET: usize = 4096;

/// Ends with the test if the test fails.
pub(super) struct Held {
    child: Child,
    reader: PipeReader,
    /// What it has said so far, the line it is held at included.
    said: String,
}

impl Held {
    /// Starts `command` and holds it where stderr says `mark`.
    pub(super) fn at(command: &mut Command, mark: &str) -> Held {
        let (reader, writer) = packets();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
        let child = command.spawn().unwrap();
        // The pipe ends with the run: no writer is left here.
        command.stderr(Stdio::piped());
        let mut held = Held {
            child,
            reader,
            said: String::new(),
        };
        loop {
            let text = held.next();
            assert!(!text.is_empty(), "ended before {mark:?}: {}", held.said);
            held.said += &text;
            if held.said.contains(mark) {
                return held;
            }
            held.let_on();
        }
    }

    /// Process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        assert!(!self.child.wait().unwrap().success(), "over before: {}", self.said);
    }

    /// Ctrl-C, which it has heard of when it goes on.
    pub(super) fn interrupt(self) -> Run {
        self.signal("-INT");
        self.wait_until_idle();
        self.finish()
    }

    /// Sends a signal by its option of `kill`.
    pub(super) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([name, &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "over before {name}: {}", self.said);
    }

    /// Lets it go on to its end.
    pub(super) fn finish(mut self) -> Run {
        self.let_on();
        loop {
            let text = text_of(&mut self.reader);
            if text.is_empty() {
                break;
            }
            self.said += &text;
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        Run {
            code: self.child.wait().unwrap().code(),
            stdout,
            stderr: std::mem::take(&mut self.said),
        }
    }
}

/// The next packet whole: of one that is read in pieces the system keeps the first.
fn text_of(pipe: &mut PipeReader) -> String {
    let mut bytes = [0; PACKET];
    let count = pipe.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod system {
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    /// A pipe with room for one packet.
    pub(super) fn packets() -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        // SAFETY: both are settings of a descriptor that is open.
        let set = unsafe {
            let size = libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, PACKET as libc::c_int);
            let mode = libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_WRONLY | libc::O_DIRECT);
            size > 0 && mode == 0
        };
        assert!(set, "{}", std::io::Error::last_os_error());
        (reader, writer)
    }

    impl Held {
        /// The packet in the pipe, which stays there; empty at the end.
        pub(super) fn next(&mut self) -> String {
            let (mut copy, writer) = pipe().unwrap();
            // SAFETY: copies between pipes that are open.
            let bytes = unsafe { libc::tee(self.reader.as_raw_fd(), writer.as_raw_fd(), PACKET, 0) };
            assert!(bytes >= 0, "{}", std::io::Error::last_os_error());
            drop(writer);
            text_of(&mut copy)
        }

        /// Takes it out, so that the run goes on to the next.
        pub(super) fn let_on(&mut self) {
            text_of(&mut self.reader);
        }

        /// Waits until each thread of the run waits for something: what was sent to it has arrived.
        pub(super) fn wait_until_idle(&self) {
            let tasks = format!("/proc/{}/task", self.id());
            // The name of a thread ends with `)`, its state follows.
            let waits = |stat: &str| !stat.rsplit(") ").next().unwrap().starts_with(['R', 'D']);
            let idle = || {
                let threads = std::fs::read_dir(&tasks).into_iter().flatten();
                let mut stats = threads.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("stat")).ok());
                stats.all(|stat| waits(&stat))
            };
            // One look takes them one after the other.
            while !(idle() && idle()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod system {
    use super::*;

    pub(super) fn packets() -> (PipeReader, PipeWriter) {
        pipe().unwrap()
    }

    impl Held {
        pub(super) fn next(&mut self) -> String {
            text_of(&mut self.reader)
        }

        pub(super) fn let_on(&mut self) {}

        pub(super) fn wait_until_idle(&self) {}
    }
}

use system::packets;
