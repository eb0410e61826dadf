//! A document in Markdown, as far as the tests look at it: fenced blocks, headings and links.

use crate::harness::root;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The line of its text's beginning, from 1.
    pub(super) line: usize,
    pub(super) language: String,
    /// The second word behind the fence.
    pub(super) word: Option<String>,
    pub(super) text: String,
}

/// A link to another document, or to a place in this one.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) target: String,
}

#[derive(Debug)]
pub(super) struct Document {
    /// From the repository's root.
    pub(super) path: String,
    pub(super) blocks: Vec<Block>,
    /// What can be linked to.
    pub(super) anchors: Vec<String>,
    pub(super) links: Vec<Link>,
    /// Its lines outside of fences, from 1.
    pub(super) prose: Vec<(usize, String)>,
}

/// README.md, CONTRIBUTING.md if there is one, and all of docs/.
pub(super) fn paths() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    if root().join("CONTRIBUTING.md").exists() {
        found.push("CONTRIBUTING.md".to_owned());
    }
    collect(&root().join("docs"), &mut found);
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

impl Document {
    pub(super) fn read(path: &str) -> Self {
        Self::parse(path, &std::fs::read_to_string(root().join(path)).unwrap())
    }

    pub(super) fn parse(path: &str, text: &str) -> Self {
        let mut document =
            Self { path: path.to_owned(), blocks: vec![], anchors: vec![], links: vec![], prose: vec![] };
        let mut open: Option<Block> = None;
        for (line, number) in text.lines().zip(1..) {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(info)) => {
                    let mut words = info.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    open = Some(Block { line: number + 1, language, word: words.next(), text: String::new() });
                }
                (None, None) => document.prose(number, line),
                (Some(_), Some("")) => document.blocks.extend(open.take()),
                (Some(block), _) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
        }
        assert!(open.is_none(), "{path}: a fence is left open");
        document
    }

    fn prose(&mut self, number: usize, line: &str) {
        if let Some((level, heading)) = line.split_once(' ')
            && !level.is_empty()
            && level.bytes().all(|byte| byte == b'#')
        {
            let anchor = anchor(heading);
            let twins = self.anchors.iter().filter(|known| **known == anchor).count();
            self.anchors.push(if twins == 0 { anchor } else { format!("{anchor}-{twins}") });
        }
        let words = without_code(line);
        for part in words.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default().to_owned();
            self.links.push(Link { line: number, target });
        }
        self.prose.push((number, line.to_owned()));
    }
}

/// As GitHub makes it from a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.trim().chars().filter_map(kept).collect()
}

/// What stands between backticks is no link.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[test]
fn a_document_is_taken_apart() {
    let text = "# The `x` thing, today\n[a](b.md#c) `[no](link)`\n```sh terminal\necho 1\n```\n## Twice\n## Twice\n";
    let document = Document::parse("x.md", text);
    assert_eq!(document.anchors, ["the-x-thing-today", "twice", "twice-1"]);
    let links: Vec<&str> = document.links.iter().map(|link| &*link.target).collect();
    assert_eq!(links, ["b.md#c"]);
    let [block] = document.blocks.as_slice() else { panic!("{:?}", document.blocks) };
    assert_eq!(
        (block.line, &*block.language, block.word.as_deref(), &*block.text),
        (4, "sh", Some("terminal"), "echo 1\n")
    );
}
