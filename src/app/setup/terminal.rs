//! `rackhand setup`: the steps of the first start on a terminal.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::super::{certificate, clients, endpoint, keys};
use super::core::{CoreWish, adopt, check};
use crate::base::secret::Secret;
use crate::base::text::for_log;
use crate::config::Config;
use crate::guard::Role;
use crate::guard::keyfile::NewKey;
use crate::limits::FIND_TIME;
use crate::link::find::Found;
use crate::link::{Dial, find};

/// Longest line that is typed, bytes.
const LINE_MAX_BYTES: u64 = 1024;

/// What was said on the command line; everything else is asked.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The Core.
    pub core: Option<String>,
    /// Take the Core even if something is wrong with the way to it, and ask nothing.
    pub yes: bool,
}

/// Leads a person through the steps: find the Core, check it, take it, make the first key. `print` gets what they see.
///
/// # Errors
///
/// The Core is not taken, or something cannot be stored.
pub async fn run(
    config: &Config,
    said: Said,
    dial: Arc<dyn Dial>,
    mut input: impl BufRead,
    print: impl Fn(&str),
) -> anyhow::Result<()> {
    let data = &config.store.path;
    print(&format!(
        "This tells rackhand its Q-SYS Core and makes the first key. What is told is kept in {}.\n",
        data.display()
    ));
    let address = match said.core {
        Some(address) => address,
        None => choose(&mut input, &print).await?,
    };
    let mut core = CoreWish::at(&address);
    if !said.yes {
        core.user = ask(
            &mut input,
            &print,
            "User of Q-SYS Administrator, if external control asks for one (else Enter):",
        )?;
        if !core.user.is_empty() {
            core.pin = Some(Secret::new(&ask(&mut input, &print, "PIN:")?));
        }
        let key = ask(
            &mut input,
            &print,
            "Access key (Q-SYS 10.5 and later), if access control is on (else Enter):",
        )?;
        core.api_key = (!key.is_empty()).then(|| Secret::new(&key));
    }
    print("\nChecking the way to the Core, for up to half a minute.\n");
    let report = check(config, &core, &dial).await?;
    print(&report.to_string());
    if !report.is_good() && !said.yes {
        let answer = ask(
            &mut input,
            &print,
            "Something is wrong. Take this Core all the same? [y/N]",
        )?;
        anyhow::ensure!(answer.eq_ignore_ascii_case("y"), "nothing was changed");
    }
    adopt(data, &core)?;
    print(&format!("The box takes {}.\n", for_log(&address)));
    if keys::key_file(data).list()?.is_empty() {
        first_key(config, data, &print)?;
    }
    print("A running service has to be started anew once: systemctl restart rackhand");
    Ok(())
}

fn first_key(config: &Config, data: &Path, print: &impl Fn(&str)) -> anyhow::Result<()> {
    let key = keys::key_file(data).create(&NewKey::new("admin", Role::Admin))?;
    let url = match &config.listen.tls {
        Some(tls) => endpoint("https", tls.address),
        None => endpoint("http", config.listen.address),
    };
    let authority = certificate::authority(config);
    let clients = clients::configurations(&url, key.expose(), authority.as_deref());
    print(&format!(
        "Key of \"admin\" (admin), shown this once:\n\n  {}\n\n{clients}",
        key.expose()
    ));
    Ok(())
}

/// Searches the network, and lets a person choose one of what was found or type an address.
async fn choose(input: &mut impl BufRead, print: &impl Fn(&str)) -> anyhow::Result<String> {
    print("Listening for Cores on the network for some seconds.");
    let found = find::find(FIND_TIME).await.unwrap_or_default();
    if found.is_empty() {
        print(
            "None was heard: it may be in another VLAN, or behind a switch that holds multicast back.",
        );
    }
    for (number, device) in (1..).zip(&found) {
        print(&format!(
            "  {number}  {}  {}  {}  {}",
            for_log(&device.name),
            for_log(&device.part),
            device.address,
            for_log(&device.design)
        ));
    }
    loop {
        let typed = ask(
            input,
            print,
            "Number of a Core, or its host name or address:",
        )?;
        if let Some(address) = chosen(&typed, &found) {
            return Ok(address);
        }
    }
}

fn chosen(typed: &str, found: &[Found]) -> Option<String> {
    if typed.is_empty() {
        return None;
    }
    let Ok(number) = typed.parse::<usize>() else {
        return Some(typed.to_owned());
    };
    let device = found.get(number.checked_sub(1)?)?;
    Some(device.address.to_string())
}

/// Asks one thing.
fn ask(input: &mut impl BufRead, print: &impl Fn(&str), question: &str) -> anyhow::Result<String> {
    print(question);
    let mut line = String::new();
    let read = io::Read::take(&mut *input, LINE_MAX_BYTES).read_line(&mut line);
    anyhow::ensure!(
        read.context("nothing can be read from the terminal")? > 0,
        "the terminal is closed: nothing was changed. Without one, say --core and --yes"
    );
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn a_number_chooses_what_was_found_and_anything_else_is_an_address() {
        let found = [Found {
            name: "foh".to_owned(),
            part: String::new(),
            address: IpAddr::V4(Ipv4Addr::new(192, 168, 5, 10)),
            design: String::new(),
        }];
        assert_eq!(chosen("1", &found).as_deref(), Some("192.168.5.10"));
        assert_eq!(chosen("foh.local", &found).as_deref(), Some("foh.local"));
        for text in ["", "0", "2"] {
            assert_eq!(chosen(text, &found), None, "{text}");
        }
    }

    #[test]
    fn a_terminal_that_closes_ends_the_questions() {
        let mut input: &[u8] = b"first\n";
        let print = |_: &str| {};
        assert_eq!(ask(&mut input, &print, "?").unwrap(), "first");
        assert!(ask(&mut input, &print, "?").is_err());
    }
}
