//! What a service offers beside tools: prompts, resources, and completions for their arguments.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::call::{Abilities, Content, Said};
use crate::base::shutdown::Stop;
use crate::guard::Caller;

/// A prompt as it is listed: something that a person picks from a menu.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Stable for ever.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What it is good for.
    pub description: &'static str,
    /// What the person fills in.
    pub arguments: &'static [PromptArgument],
}

/// An argument of a prompt. All are strings.
#[derive(Debug, Clone, Copy)]
pub struct PromptArgument {
    /// Its name.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What to fill in.
    pub description: &'static str,
    /// Whether the prompt cannot do without it.
    pub is_required: bool,
}

/// A prompt to be filled in.
#[derive(Debug)]
pub struct PromptCall {
    /// Name of the prompt.
    pub prompt: String,
    /// Strings by name of the argument.
    pub arguments: Map<String, Value>,
    /// Who asks.
    pub caller: Caller,
    /// Cancelled when the caller no longer wants the answer, or the process stops.
    pub cancel: Stop,
    /// What the client can be asked.
    pub abilities: Abilities,
    /// What was said to an earlier [`Step::Ask`](super::Step::Ask); empty at first.
    pub said: Said,
}

/// A prompt, filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptAnswer {
    /// What it is about, in a sentence.
    pub description: String,
    /// What the conversation begins with.
    pub messages: Vec<PromptMessage>,
}

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptMessage {
    /// Whose words it puts in.
    pub speaker: Speaker,
    /// The words.
    pub content: Content,
}

/// Whose words a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The person's.
    User,
    /// The model's.
    Assistant,
}

/// A resource as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its URI.
    pub uri: String,
    /// Name for programs.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// What is in it.
    pub description: String,
    /// `application/json`, `text/markdown`.
    pub mime_type: &'static str,
}

/// A family of resources.
#[derive(Debug, Clone)]
pub struct ResourceTemplate {
    /// URI with `{names}` (RFC 6570, level 1).
    pub uri_template: &'static str,
    /// Name for programs.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What is in each.
    pub description: &'static str,
    /// `application/json`, `text/markdown`.
    pub mime_type: &'static str,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceContents {
    /// The parts, at least one.
    pub contents: Vec<ResourceContent>,
    /// Whether it changes with the program alone, so that clients may keep it.
    pub is_static: bool,
}

/// One part of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceContent {
    /// Its URI.
    pub uri: String,
    /// Its type.
    pub mime_type: &'static str,
    /// The part itself.
    pub body: ResourceBody,
}

/// Text or bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum ResourceBody {
    /// Text.
    Text(String),
    /// Bytes in standard base64.
    Base64(Cow<'static, str>),
}

/// Which edition of each list is out. A number that rose is a list that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generations {
    /// Of tools.
    pub tools: u64,
    /// Of prompts.
    pub prompts: u64,
    /// Of resources, and of what templates lead to.
    pub resources: u64,
}

/// A value that someone is typing.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// What it belongs to.
    pub target: Target<'a>,
    /// The argument.
    pub argument: &'a str,
    /// What is typed so far.
    pub typed: &'a str,
    /// Arguments that are filled in already: strings by name.
    pub others: &'a Map<String, Value>,
    /// Who types.
    pub caller: &'a Caller,
}

/// What has the argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prompt, by name.
    Prompt(&'a str),
    /// A resource template, as it is listed.
    Template(&'a str),
}

/// How a value could go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Completed {
    /// Whole values, the likeliest first, at most 100.
    pub values: Vec<String>,
    /// How many there are in all.
    pub total: usize,
}
