//! A service whose lists and resources change when a test says so.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::future::{self, BoxFuture};
use rackhand::guard::{Caller, Reach};
use rackhand::service::{
    FaultCode, Generations, Prompt, Resource, ResourceBody, ResourceContent, ResourceContents,
    Service, Step, Tool, ToolAnswer, ToolCall, ToolFault,
};

const PROMPTS: &[Prompt] = &[Prompt {
    name: "board_clean",
    title: "Clean",
    description: "Cleans the board.",
    arguments: &[],
}];

/// A board on which the notes `board://note/0` to `board://note/999` hang.
#[derive(Debug, Default)]
pub(crate) struct Board {
    notes: Mutex<HashMap<u64, u64>>,
    tools: AtomicU64,
    prompts: AtomicU64,
    resources: AtomicU64,
    /// How often somebody looked at a note.
    pub(crate) looks: AtomicUsize,
}

/// A list of the board.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    Tools,
    Prompts,
    Resources,
}

impl Board {
    pub(crate) fn write(&self, note: u64) {
        *self.notes.lock().unwrap().entry(note).or_default() += 1;
    }

    pub(crate) fn change(&self, list: List) {
        let generation = match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
        };
        generation.fetch_add(1, Ordering::SeqCst);
    }
}

fn note(uri: &str) -> Option<u64> {
    let number = uri.strip_prefix("board://note/")?;
    let number: u64 = number.trim_end_matches('x').parse().ok()?;
    (number < 1000).then_some(number)
}

impl Service for Board {
    fn name(&self) -> &'static str {
        "board"
    }

    fn tools(&self) -> &[Tool] {
        &[]
    }

    fn call(&self, _: ToolCall) -> BoxFuture<'_, Result<Step<ToolAnswer>, ToolFault>> {
        let fault = ToolFault::new(FaultCode::NotFound, "There are no tools.", "");
        Box::pin(future::ready(Err(fault)))
    }

    fn prompts(&self) -> &[Prompt] {
        PROMPTS
    }

    fn resources(&self) -> Vec<Resource> {
        vec![Resource {
            uri: "board://note/0".to_owned(),
            name: "note 0".to_owned(),
            title: "Note 0".to_owned(),
            description: "The first note.".to_owned(),
            mime_type: "text/plain",
        }]
    }

    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        let contents = note(uri).map(|number| ResourceContents {
            contents: vec![ResourceContent {
                uri: uri.to_owned(),
                mime_type: "text/plain",
                body: ResourceBody::Text(number.to_string()),
            }],
            is_static: false,
        });
        Box::pin(future::ready(Ok(contents)))
    }

    fn resource_stamp(&self, uri: &str, _: &Reach) -> Option<u64> {
        let number = note(uri)?;
        self.looks.fetch_add(1, Ordering::SeqCst);
        Some(*self.notes.lock().unwrap().get(&number).unwrap_or(&0))
    }

    fn generations(&self) -> Generations {
        Generations {
            tools: self.tools.load(Ordering::SeqCst),
            prompts: self.prompts.load(Ordering::SeqCst),
            resources: self.resources.load(Ordering::SeqCst),
        }
    }
}
