//! An answer as a list of steps, so that a scenario can break it at any byte.

use super::super::{content::Content, gate::Gate, wire::Field};

/// What the origin does on the wire, one after another.
#[derive(Clone)]
pub(crate) enum Step {
    /// Any bytes, not counted as body.
    Text(Vec<u8>),
    /// Bytes `start..end` of a content, counted as body.
    Body(Content, u64, u64),
    /// The same, each 64 KiB as one chunk of the chunked coding, without the last chunk.
    Chunks(Content, u64, u64),
    /// Waits until the scenario opens the gate.
    Hold(Gate),
    /// Sends nothing more, and keeps the connection until the peer leaves.
    Stall,
    /// Sends the request body back as it comes, chunked, with its trailers.
    Echo,
    /// RST.
    Reset,
    /// FIN.
    Close,
}

/// A head and what follows it.
#[derive(Clone)]
pub(crate) struct Answer {
    /// Sent before the head, if at all.
    pub(crate) before: Vec<Step>,
    /// The status line without its line end; empty: no head is sent.
    pub(crate) status: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) steps: Vec<Step>,
    /// Body bytes a second; bytes of a content from the given offset on wait at the gate.
    pub(crate) rate: Option<u64>,
    pub(crate) held_from: Option<(u64, Gate)>,
}

impl Answer {
    pub(crate) fn new(status: &str) -> Self {
        Self {
            before: Vec::new(),
            status: format!("HTTP/1.1 {status}"),
            fields: Vec::new(),
            steps: Vec::new(),
            rate: None,
            held_from: None,
        }
    }

    /// A small complete answer.
    pub(crate) fn text(status: &str, body: &str) -> Self {
        Self::new(status).with("Content-Length", body.len()).then(Step::Text(body.into()))
    }

    /// No head of ours: `bytes` as they are, then the end of the connection.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: String::new(), ..Self::new("") }.then(Step::Text(bytes.into())).then(Step::Close)
    }

    /// Adds a field, in this spelling, replacing all of that name.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self = self.without(name);
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a field beside others of that name.
    pub(crate) fn also(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Replaces everything after the head.
    pub(crate) fn only(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.steps = steps.into();
        self
    }

    pub(crate) fn first(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }
}
