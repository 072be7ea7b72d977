//! The process as the system sees it. Linux tells it in files; elsewhere nothing is told.

use std::fs;

/// Ticks a second in `/proc`: fixed, whatever the kernel's own clock does.
const TICKS: f64 = 100.0;

/// What is told of this process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<f64>,
    pub open_files: Option<f64>,
    pub most_files: Option<f64>,
    /// Since 1970.
    pub start_seconds: Option<f64>,
}

impl Process {
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let stat = text("/proc/self/stat");
        // The program's name, in brackets, may hold anything.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // Counted from the third field, the state.
        let ticks = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident_bytes: number(&text("/proc/self/status"), "VmRSS:").map(|kib| kib * 1024.0),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64),
            most_files: number(&text("/proc/self/limits"), "Max open files"),
            start_seconds: number(&text("/proc/stat"), "btime")
                .zip(ticks(22))
                .map(|(boot, since)| boot + since),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_all_of_it() {
        let process = super::Process::read();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let age = now.as_secs_f64() - process.start_seconds.expect("a start");
        // The boot's time is told in whole seconds.
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(process.cpu_seconds.is_some_and(|cpu| cpu >= 0.0));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1e6));
        assert!(process.open_files.zip(process.most_files).is_some_and(|(open, most)| open <= most));
    }
}
