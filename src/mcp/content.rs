//! Pieces of content as MCP writes them, each in the words that a revision knows.

use serde_json::{Value, json};

use super::answer::push_json;
use super::revision::Revision;
use crate::service::{Content, ResourceBody, ResourceContent};

/// Appends a list: texts that are not empty, then the other pieces.
pub(super) fn push_list(out: &mut Vec<u8>, texts: &[&str], more: &[Content], revision: Revision) {
    out.push(b'[');
    let start = out.len();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
        push_json(out, text);
        out.push(b'}');
    }
    for piece in more {
        if out.len() > start {
            out.push(b',');
        }
        push_json(out, &to_json(piece, revision));
    }
    out.push(b']');
}

/// One piece. What the revision has no type for becomes a text that says what it would have been.
pub(super) fn to_json(piece: &Content, revision: Revision) -> Value {
    match piece {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Image { mime_type, base64 } => {
            json!({"type": "image", "mimeType": mime_type, "data": base64})
        }
        Content::Audio { mime_type, base64 } if revision.has_audio() => {
            json!({"type": "audio", "mimeType": mime_type, "data": base64})
        }
        Content::Audio { mime_type, .. } => {
            json!({"type": "text", "text": format!("A sound ({mime_type}) belongs here, which this revision of MCP cannot carry.")})
        }
        Content::Resource(content) => {
            json!({"type": "resource", "resource": resource_to_json(content)})
        }
        Content::Link { uri, name } if revision.has_resource_links() => {
            json!({"type": "resource_link", "uri": uri, "name": name})
        }
        Content::Link { uri, name } => {
            json!({"type": "text", "text": format!("{name}: the resource {uri}")})
        }
    }
}

/// One part of a resource.
pub(super) fn resource_to_json(content: &ResourceContent) -> Value {
    let (field, body) = match &content.body {
        ResourceBody::Text(text) => ("text", text.as_str()),
        ResourceBody::Base64(bytes) => ("blob", &**bytes),
    };
    json!({"uri": content.uri, "mimeType": content.mime_type, field: body})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_sent_only_the_types_that_it_knows() {
        let sound = Content::Audio {
            mime_type: "audio/wav",
            base64: "AAAA".into(),
        };
        let link = Content::Link {
            uri: "test://x".to_owned(),
            name: "x".to_owned(),
        };
        for revision in Revision::SPOKEN {
            let is_first = revision == Revision::R2024_11_05;
            let type_of = |piece| to_json(piece, revision)["type"].clone();
            assert_eq!(type_of(&sound), if is_first { "text" } else { "audio" });
            let knows_links = revision >= Revision::R2025_06_18;
            assert_eq!(
                type_of(&link),
                if knows_links { "resource_link" } else { "text" }
            );
        }
        let text = to_json(&link, Revision::R2024_11_05)["text"].to_string();
        assert!(text.contains("test://x"), "{text}");
    }
}
