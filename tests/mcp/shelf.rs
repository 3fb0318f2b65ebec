//! A service with prompts, resources and templates: what stands on a shelf.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{self, BoxFuture};
use rackhand::guard::Caller;
use rackhand::service::{
    Completed, Completion, Content, FaultCode, Prompt, PromptAnswer, PromptArgument, PromptCall,
    PromptMessage, Resource, ResourceBody, ResourceContent, ResourceContents, ResourceTemplate,
    Service, Speaker, Step, Target, Tool, ToolAnswer, ToolCall, ToolFault,
};

const PROMPTS: &[Prompt] = &[
    Prompt {
        name: "shelf_tidy",
        title: "Tidy up",
        description: "Puts everything in order.",
        arguments: &[],
    },
    Prompt {
        name: "shelf_letter",
        title: "Letter",
        description: "Writes a letter.",
        arguments: &[
            PromptArgument {
                name: "to",
                title: "To",
                description: "Who gets it.",
                is_required: true,
            },
            PromptArgument {
                name: "tone",
                title: "Tone",
                description: "How it sounds.",
                is_required: false,
            },
        ],
    },
    Prompt {
        name: "shelf_lost",
        title: "Lost",
        description: "Cannot be had.",
        arguments: &[],
    },
];

const TEMPLATES: &[ResourceTemplate] = &[
    ResourceTemplate {
        uri_template: "shelf://book/{number}",
        name: "book",
        title: "A book",
        description: "A book by its number.",
        mime_type: "text/plain",
    },
    ResourceTemplate {
        uri_template: "shelf://page/{book}/{number}",
        name: "page",
        title: "A page",
        description: "A page of a book.",
        mime_type: "text/plain",
    },
];

/// The shelf, with this many books on it.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) books: AtomicUsize,
}

impl Shelf {
    pub(crate) fn with_books(books: usize) -> Self {
        Self {
            books: AtomicUsize::new(books),
        }
    }
}

fn text(uri: &str, text: &str, is_static: bool) -> ResourceContents {
    ResourceContents {
        contents: vec![ResourceContent {
            uri: uri.to_owned(),
            mime_type: "text/plain",
            body: ResourceBody::Text(text.to_owned()),
        }],
        is_static,
    }
}

fn says(speaker: Speaker, content: Content) -> PromptMessage {
    PromptMessage { speaker, content }
}

impl Service for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
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

    fn prompt(&self, call: PromptCall) -> BoxFuture<'_, Result<Step<PromptAnswer>, ToolFault>> {
        let user = |text: String| says(Speaker::User, Content::Text(text));
        let argument = |name: &str| call.arguments.get(name).and_then(|it| it.as_str());
        let filled = match call.prompt.as_str() {
            "shelf_tidy" => Ok(vec![user("Tidy the shelf.".to_owned())]),
            "shelf_letter" => {
                let to = argument("to").unwrap_or_default();
                let tone = argument("tone").unwrap_or("friendly");
                let link = Content::Link {
                    uri: "shelf://catalogue".to_owned(),
                    name: "catalogue".to_owned(),
                };
                let sound = Content::Audio {
                    mime_type: "audio/wav",
                    base64: "UklGRg==".into(),
                };
                Ok(vec![
                    user(format!("Write a {tone} letter to {to}.")),
                    says(Speaker::Assistant, link),
                    says(Speaker::Assistant, sound),
                ])
            }
            _ => Err(ToolFault::new(
                FaultCode::LinkDown,
                "The shelf cannot be reached.",
                "Try again later.",
            )),
        };
        let answer = filled.map(|messages| {
            Step::Done(PromptAnswer {
                description: "From the shelf.".to_owned(),
                messages,
            })
        });
        Box::pin(future::ready(answer))
    }

    fn resources(&self) -> Vec<Resource> {
        let books = 0..self.books.load(Ordering::SeqCst);
        let books = books.map(|number| Resource {
            uri: format!("shelf://book/{number}"),
            name: format!("book-{number}"),
            title: format!("Book {number}"),
            description: "A book.".to_owned(),
            mime_type: "text/plain",
        });
        let catalogue = Resource {
            uri: "shelf://catalogue".to_owned(),
            name: "catalogue".to_owned(),
            title: "Catalogue".to_owned(),
            description: "What is there.".to_owned(),
            mime_type: "text/plain",
        };
        std::iter::once(catalogue).chain(books).collect()
    }

    fn resource_templates(&self) -> &[ResourceTemplate] {
        TEMPLATES
    }

    fn read_resource<'a>(
        &'a self,
        uri: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Option<ResourceContents>, ToolFault>> {
        let found = match uri {
            "shelf://catalogue" => Ok(Some(text(uri, "All the books.", true))),
            "shelf://reader" => Ok(Some(text(uri, &caller.name, false))),
            "shelf://picture" => Ok(Some(ResourceContents {
                contents: vec![ResourceContent {
                    uri: uri.to_owned(),
                    mime_type: "image/png",
                    body: ResourceBody::Base64("iVBORw0KGgo=".into()),
                }],
                is_static: true,
            })),
            "shelf://empty" => Ok(Some(ResourceContents {
                contents: Vec::new(),
                is_static: false,
            })),
            "shelf://lost" => Err(ToolFault::new(
                FaultCode::NotFound,
                "Somebody took it.",
                "Ask around.",
            )),
            "shelf://broken" => Err(ToolFault::new(
                FaultCode::LinkDown,
                "The shelf cannot be reached.",
                "Try again later.",
            )),
            "shelf://slow" => return Box::pin(future::pending()),
            _ => {
                let number = uri.strip_prefix("shelf://book/");
                let number = number.and_then(|number| number.parse::<usize>().ok());
                let books = self.books.load(Ordering::SeqCst);
                let book = number.filter(|number| *number < books);
                Ok(book.map(|number| text(uri, &format!("Book {number}."), false)))
            }
        };
        Box::pin(future::ready(found))
    }

    fn complete(&self, completion: &Completion<'_>) -> Option<Completed> {
        let values: Vec<String> = match (completion.target, completion.argument) {
            (Target::Prompt("shelf_letter"), "tone") => ["formal", "friendly", "furious"]
                .map(str::to_owned)
                .to_vec(),
            (Target::Prompt("shelf_letter"), "to") => {
                let tone = completion.others.get("tone").and_then(|it| it.as_str());
                vec![format!("{} reader", tone.unwrap_or("any"))]
            }
            (Target::Template("shelf://book/{number}"), "number") => {
                (0..250).map(|number| number.to_string()).collect()
            }
            _ => return None,
        };
        let values: Vec<String> = values
            .into_iter()
            .filter(|value| value.starts_with(completion.typed))
            .collect();
        let total = values.len();
        Some(Completed { values, total })
    }
}
