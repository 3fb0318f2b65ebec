//! What can be read by URI: the `qsys://` space.
//!
//! A box with one Core has `qsys://overview`; one with several has `qsys://overview?core=hall` for each of them, and without `core` the
//! first answers, as with tools. The contents are those of the tools, made by their code.

mod contents;
mod guide;
mod stamp;
#[cfg(test)]
mod tests;
mod uri;

pub(super) use self::contents::read;
pub(super) use self::stamp::{Lookups, stamp};
pub(super) use self::uri::encoded;

use super::QsysService;
use crate::service::{Resource, ResourceTemplate};

const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";

/// What every Core has one of: path, title, description.
const EACH: [(&str, &str, &str); 4] = [
    (
        "overview",
        "Overview",
        "Core, design, link, faults, system mute: what qsys_get_overview answers.",
    ),
    (
        "design",
        "Running design",
        "Name and code of the running design, how many components of which types it shows, and how it differs from the one before.",
    ),
    (
        "components",
        "Components",
        "The components that the design shows, 500 at a time; `next_cursor` of one part is `?cursor=` of the next, and `?type=` narrows.",
    ),
    (
        "health/link",
        "Link to the Core",
        "State of the link, breaker, drops, last fault: what qsys_get_link_status answers.",
    ),
];

/// What is listed one by one.
pub(super) fn list(service: &QsysService) -> Vec<Resource> {
    let has_several = service.systems.len() > 1;
    let mut all = Vec::new();
    for core in service.systems.names() {
        all.extend(EACH.iter().map(|(path, title, description)| {
            let (query, of) = if has_several {
                let query = format!("?core={}", encoded(core));
                (query, format!(" of {core}"))
            } else {
                (String::new(), String::new())
            };
            Resource {
                uri: format!("qsys://{path}{query}"),
                name: format!("{}{of}", path.replace('/', "-")),
                title: format!("{title}{of}"),
                description: (*description).to_owned(),
                mime_type: JSON,
            }
        }));
    }
    all.extend(guide::ALL.iter().map(|guide| Resource {
        uri: format!("qsys://guide/{}", guide.name),
        name: format!("guide-{}", guide.name),
        title: guide.title.to_owned(),
        description: guide.description.to_owned(),
        mime_type: MARKDOWN,
    }));
    all
}

/// The families for a box with one Core, or with several.
pub(super) const fn templates(has_several: bool) -> &'static [ResourceTemplate] {
    if has_several { &SEVERAL } else { &ONE }
}

const fn component(uri_template: &'static str) -> ResourceTemplate {
    ResourceTemplate {
        uri_template,
        name: "component",
        title: "Component",
        description: "One component with its controls, their values, ranges and choices: what qsys_get_component answers.",
        mime_type: JSON,
    }
}

const fn control(uri_template: &'static str) -> ResourceTemplate {
    ResourceTemplate {
        uri_template,
        name: "control",
        title: "Control",
        description: "One control of a component: value, age, quality, type, range, choices, and what this box allows.",
        mime_type: JSON,
    }
}

const fn named_control(uri_template: &'static str) -> ResourceTemplate {
    ResourceTemplate {
        uri_template,
        name: "named-control",
        title: "Named control",
        description: "One named control, which belongs to no component.",
        mime_type: JSON,
    }
}

const ONE: [ResourceTemplate; 3] = [
    component("qsys://component/{name}"),
    control("qsys://control/{component}/{control}"),
    named_control("qsys://named-control/{name}"),
];

const SEVERAL: [ResourceTemplate; 3] = [
    component("qsys://component/{name}?core={core}"),
    control("qsys://control/{component}/{control}?core={core}"),
    named_control("qsys://named-control/{name}?core={core}"),
];
