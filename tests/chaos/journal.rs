//! The two journals: what was promised, and what was done.

use crate::handler::Order;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use uuid::Uuid;

/// A submission that was answered with 201.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: Uuid,
    pub(crate) order: Order,
    pub(crate) queue: &'static str,
    /// When the answer came.
    pub(crate) at: u64,
    /// What cancelling it was answered with, if that was tried: 0 stands for no answer.
    pub(crate) cancel: Option<u16>,
}

/// A handler has begun, or has reached its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) task: Uuid,
    pub(crate) attempt: u32,
    pub(crate) start: bool,
    pub(crate) pid: u32,
    pub(crate) at: u64,
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let task = words.next()?.parse().ok()?;
        let attempt = words.next()?.parse().ok()?;
        let start = match words.next()? {
            "start" => true,
            "end" => false,
            _ => return None,
        };
        let (pid, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { task, attempt, start, pid, at })
    }
}

/// The handlers' journal, read as it grows.
#[derive(Debug)]
pub(crate) struct Execution {
    path: PathBuf,
    read: u64,
    /// The beginning of a line whose end is not there yet.
    rest: String,
    /// In the order in which they were written.
    pub(crate) lines: Vec<Line>,
    /// Lines that are none.
    pub(crate) broken: Vec<String>,
}

impl Execution {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: 0, rest: String::new(), lines: Vec::new(), broken: Vec::new() }
    }

    /// Reads what was written since.
    pub(crate) fn refresh(&mut self) -> &mut Self {
        let Ok(mut file) = File::open(&self.path) else { return self };
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        self.read += u64::try_from(file.read_to_end(&mut bytes).unwrap()).unwrap();
        self.rest.push_str(&String::from_utf8(bytes).unwrap());
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            match Line::read(line.trim_end()) {
                Some(line) => self.lines.push(line),
                None => self.broken.push(line),
            }
        }
        self
    }

    /// The starts so far.
    pub(crate) fn starts(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.start)
    }

    /// The starts of each task, in the order in which they were written.
    pub(crate) fn starts_by_task(&self) -> HashMap<Uuid, Vec<Line>> {
        let mut by_task: HashMap<Uuid, Vec<Line>> = HashMap::new();
        for line in self.starts() {
            by_task.entry(line.task).or_default().push(*line);
        }
        by_task
    }
}
