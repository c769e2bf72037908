//! Processes that cannot outlive their test, and commands that cannot hang.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How much of a log a failed test prints.
const LOG_TAIL: i64 = 6000;
/// How long after SIGKILL the system may take to end a process.
const KILL_MAX: Duration = Duration::from_secs(10);

/// A process with its output in a file. It is killed when this is dropped, and by the kernel when the test dies before.
pub(crate) struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    ended: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts a program; its standard output and standard error go to `log`.
    pub(crate) fn start(name: &str, log: &Path, program: &str, arguments: &[String], env: &[(&str, &str)]) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("a log file");
        // The kernel kills it when the thread below ends, which lives as long as the process or the test program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(arguments).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
        let (started, pid) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv (util-linux) starts programs");
            let _ = started.send(child.id());
            let _ = end.send(child.wait().expect("a child of this thread"));
        });
        let pid = pid.recv().expect("the program starts");
        Self { name: name.to_owned(), pid, log: log.to_owned(), ended, status: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.status = self.status.or_else(|| self.ended.try_recv().ok());
        self.status
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, most: Duration) -> ExitStatus {
        if self.status.is_none() {
            self.status = self.ended.recv_timeout(most).ok();
        }
        self.status.unwrap_or_else(|| panic!("{} still runs after {most:?}\n{}", self.name, self.tail()))
    }

    /// Sends a signal by its name, as in `TERM`.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.status().is_none() {
            let line = format!("kill -{signal} {}", self.pid);
            let _ = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status();
        }
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        if self.status.is_none() {
            self.status = self.ended.recv_timeout(KILL_MAX).ok();
        }
    }

    /// All it has printed.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it has printed.
    pub(crate) fn tail(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let _ = file.seek(SeekFrom::End(-LOG_TAIL)).or_else(|_| file.seek(SeekFrom::Start(0)));
            let _ = file.read_to_end(&mut text);
        }
        format!("--- {} ({}), the end of its log:\n{}", self.name, self.pid, String::from_utf8_lossy(&text))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// The last lines of what a program printed.
fn end(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(40).collect();
    lines.into_iter().rev().map(|l| format!("  {l}\n")).collect()
}

/// What a command did.
pub(crate) struct Ran {
    line: String,
    pub(crate) output: Output,
}

/// Runs a program for at most `most`; then it and all it started are killed, which is exit code 124 or 137.
pub(crate) fn run(most: Duration, program: &str, arguments: &[&str]) -> Ran {
    run_with(most, program, arguments, &[])
}

fn run_with(most: Duration, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", &most.as_secs().to_string(), program]).args(arguments);
    command.stdin(Stdio::null());
    for name in
        ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
    {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    let output = command.output().expect("timeout (coreutils) runs programs");
    Ran { line: format!("{program} {}", arguments.join(" ")), output }
}

/// Runs a line of shell with these variables.
pub(crate) fn shell(most: Duration, line: &str, env: &[(&str, &str)]) -> Ran {
    run_with(most, "sh", &["-c", line], env)
}

impl Ran {
    /// The exit code; it must not have run out of time.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        let code = self.output.status.code().unwrap_or(137);
        assert!(code != 124 && code != 137, "{} ran out of time: {}", self.line, self.err());
        code
    }

    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        let code = self.code();
        assert!(code == 0, "{}: exit code {code}\n{}\n{}", self.line, end(&self.out()), end(&self.err()));
        self
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard output as the one JSON object that `--json` promises.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let object = serde_json::from_slice(&self.output.stdout);
        object.unwrap_or_else(|why| panic!("{}: {why}: {:?}\n{}", self.line, self.out(), self.err()))
    }
}
