//! The table of `src/docs/access.md`, driven: every route with every verb, for every kind of credential of every role.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rackhand::base::clock::UnixMillis;
use rackhand::guard::{Role, Scope, Scopes};
use rackhand::http::Route;
use rackhand::sim::design;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::JoinSet;

use crate::bed::{Bed, OPEN};

const TABLE: &str = include_str!("../../src/docs/access.md");

const VERBS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"];

static ASKED: AtomicU32 = AtomicU32::new(1);

/// A row of the table.
#[derive(Debug)]
struct Row {
    path: String,
    verbs: Vec<&'static str>,
    who: String,
}

fn rows() -> Vec<Row> {
    let (_, table) = TABLE.split_once("| Path | Verbs | Who |").unwrap();
    let lines = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let verbs = match cells[2] {
                "any" => VERBS.to_vec(),
                some => some.split(", ").collect(),
            };
            Row {
                path: cells[1].trim_matches('`').replace(['{', '}'], ""),
                verbs,
                who: cells[3].to_owned(),
            }
        })
        .collect()
}

/// How far a credential goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Nobody comes in by it.
    Nothing,
    /// A good token that gives nothing here.
    NoRole,
    Key(Scopes),
    Token(Scopes),
    /// Of the identity provider.
    Outside(Scopes),
    /// A one-use ticket, which counts for nothing but certain requests.
    Ticket,
    /// Nobody known, where some tools are open to anybody.
    Anybody,
    /// A program on this machine, in a role.
    Local(Scopes),
}

/// The paths in backticks of the second table's row that begins so.
fn paths_of(what: &str) -> Vec<&'static str> {
    let (_, table) = TABLE.split_once("| What | Where |").unwrap();
    let row = table
        .lines()
        .find(|line| line.starts_with(&format!("| {what}")));
    let (_, cell) = row.unwrap().rsplit_once(" | ").unwrap();
    cell.split('`').skip(1).step_by(2).collect()
}

/// What the table says of a caller, as a status; none for being let in.
fn refusal(row: &Row, verb: &str, worth: Worth) -> Option<u16> {
    use Worth::{Anybody, Key, Local, NoRole, Nothing, Outside, Ticket, Token};
    let (who, path) = (row.who.as_str(), row.path.as_str());
    if who == "anybody" {
        return None;
    }
    let scopes = match worth {
        Nothing => return Some(401),
        NoRole => return Some(403),
        Ticket => {
            let is_taken = verb == "GET" && paths_of("a one-use ticket").contains(&path);
            return (!is_taken).then_some(401);
        }
        Anybody => {
            let is_taken = paths_of("nothing, if").contains(&path);
            return (!is_taken).then_some(401);
        }
        Local(_) if paths_of("nothing, on this very machine").contains(&path) => {
            // Whoever is let in and has nothing to change is told so, on paths that there are.
            return Some(if row.verbs.contains(&verb) || who != "key or token" {
                403
            } else {
                405
            });
        }
        Key(scopes) | Token(scopes) | Outside(scopes) | Local(scopes) => scopes,
    };
    let is_let_in = match (who, worth) {
        ("key or token", _) | ("key, no token", Key(_)) | ("token made by a key", Token(_)) => true,
        ("key, no token" | "token made by a key", _) => false,
        (other, _) => {
            let word = other
                .strip_prefix("key or token with `")
                .and_then(|rest| rest.split_once('`'))
                .map(|(word, _)| word);
            let scope = Scope::ALL
                .into_iter()
                .find(|scope| Some(scope.as_str()) == word);
            scopes
                .has(scope.unwrap_or_else(|| panic!("the test does not know {other:?}: teach it")))
        }
    };
    (!is_let_in).then_some(403)
}

/// A kind of credential: what it is called, its header lines, and what it is worth.
type Credential = (String, String, Worth);

struct Provider {
    pair: Ed25519KeyPair,
    folder: tempfile::TempDir,
}

impl Provider {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]});
        std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
        Self { pair, folder }
    }

    fn settings(&self) -> String {
        let roles = Role::ALL.map(|role| format!("\"{0}s\" = \"{0}\"", role.as_str()));
        format!(
            "{OPEN}[identity-provider]\nissuer = \"https://idp.example\"\naudience = \"http://localhost/mcp\"\nresource = \"http://localhost/mcp\"\n\
             jwks = {:?}\nroles = {{ {} }}\n",
            self.folder.path().join("keys.json").to_str().unwrap(),
            roles.join(", ")
        )
    }

    fn token(&self, role: &str, changes: &Value) -> String {
        let now = UnixMillis::now().0 / 1000;
        let mut claims = json!({
            "iss": "https://idp.example", "aud": "http://localhost/mcp", "sub": "alice", "exp": now + 600, "roles": [role],
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!(
            "{}.{}",
            part(&json!({"alg": "EdDSA", "kid": "a"})),
            part(&claims)
        );
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}")
    }
}

fn bearer(text: &str) -> String {
    format!("authorization: Bearer {text}\r\n")
}

async fn minted(bed: &Bed, key: &str, body: &str) -> String {
    let request = format!(
        "POST /auth/token HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        bearer(key),
        body.len()
    );
    let reply = bed.client("nobody").exchange(&request).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    token["access_token"].as_str().unwrap().to_owned()
}

async fn credentials(bed: &Bed, provider: &Provider) -> Vec<Credential> {
    let mut all: Vec<Credential> = Vec::new();
    let key = |role: &str| bed.client(role).key.unwrap();
    let blind = Scopes::of(&[Scope::Diagnose]);
    for (role, scopes) in Role::ALL
        .map(|role| (role.as_str(), role.scopes()))
        .into_iter()
        .chain([("blind", blind)])
    {
        let own = key(role);
        for (name, line) in [
            ("Bearer", bearer(&own)),
            ("ApiKey", format!("authorization: ApiKey {own}\r\n")),
            ("X-API-Key", format!("x-api-key: {own}\r\n")),
            ("X-MCP-Key", format!("x-mcp-key: {own}\r\n")),
            (
                "two headers",
                format!("x-mcp-key: {own}\r\n{}", bearer(&own)),
            ),
        ] {
            all.push((format!("{role}'s key as {name}"), line, Worth::Key(scopes)));
        }
        let token = minted(bed, &own, "").await;
        for (name, line) in [
            ("Bearer", bearer(&token)),
            ("X-API-Key", format!("x-api-key: {token}\r\n")),
        ] {
            all.push((
                format!("{role}'s token as {name}"),
                line,
                Worth::Token(scopes),
            ));
        }
        if role != "blind" {
            let outside = bearer(&provider.token(&format!("{role}s"), &json!({})));
            all.push((
                format!("{role} from outside"),
                outside,
                Worth::Outside(scopes),
            ));
        }
    }
    all.extend(wrong_ones(bed, provider).await);
    all
}

/// What nobody comes in by, or not far.
async fn wrong_ones(bed: &Bed, provider: &Provider) -> Vec<Credential> {
    let mut all: Vec<Credential> = Vec::new();
    let key = |role: &str| bed.client(role).key.unwrap();
    let blind = minted(bed, &key("viewer"), r#"{"scope": "diagnose"}"#).await;
    all.push((
        "a narrowed token".into(),
        bearer(&blind),
        Worth::Token(Scopes::of(&[Scope::Diagnose])),
    ));
    let nobody = provider.token("visitors", &json!({}));
    all.push((
        "somebody without a role".into(),
        bearer(&nobody),
        Worth::NoRole,
    ));
    let good = minted(bed, &key("admin"), "").await;
    let (text, _) = good.rsplit_once('.').unwrap();
    let none = text.split_once('.').unwrap().1;
    let none = format!("{}.{none}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    let past = json!({"exp": 1_800_000});
    let short = minted(bed, &key("admin"), r#"{"expires_in": 1}"#).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let admin = key("admin");
    for (name, line) in [
        ("nothing", String::new()),
        (
            "an unknown key",
            bearer(rackhand::guard::key::generate().unwrap().expose()),
        ),
        ("a damaged key", bearer(&admin[..51])),
        ("an expired key", bearer(&key("expired"))),
        ("a word", bearer("sesame")),
        (
            "another scheme",
            format!("authorization: Basic {admin}\r\n"),
        ),
        (
            "two keys",
            format!("x-api-key: {}\r\n{}", key("guest"), bearer(&admin)),
        ),
        (
            "a key and a token",
            format!("x-api-key: {admin}\r\n{}", bearer(&good)),
        ),
        ("an expired token", bearer(&short)),
        ("a token without signature", bearer(&format!("{text}."))),
        ("a token without algorithm", bearer(&none)),
        (
            "a forged token",
            bearer(&format!("{text}.{}", "A".repeat(43))),
        ),
        (
            "an expired token from outside",
            bearer(&provider.token("admins", &past)),
        ),
        (
            "a token for others",
            bearer(&provider.token("admins", &json!({"aud": "x"}))),
        ),
        (
            "a token of another issuer",
            bearer(&provider.token("admins", &json!({"iss": "x"}))),
        ),
        (
            "a token of another provider",
            bearer(&Provider::new().token("admins", &json!({}))),
        ),
        (
            "a huge token",
            bearer(&format!("{text}.{}", "A".repeat(9_000))),
        ),
    ] {
        all.push((name.to_owned(), line, Worth::Nothing));
    }
    all
}

/// Asks on a connection of its own, from an address of its own; answers with the status alone.
async fn status(bed: &Bed, verb: &str, path: &str, lines: &str) -> u16 {
    let [_, a, b, c] = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let peer = IpAddr::V4(Ipv4Addr::new(11, a, b, c));
    status_from(bed, peer, verb, path, lines).await
}

async fn status_from(bed: &Bed, peer: IpAddr, verb: &str, path: &str, lines: &str) -> u16 {
    let (mut ours, theirs) = duplex(64 << 10);
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&bed.front).serve_connection(theirs, peer, bed.stop.clone()));
    // What some paths ask for besides, so that the answer is not about that.
    let extra = match path.split('?').next().unwrap_or_default() {
        "/sse" => "accept: text/event-stream\r\n",
        _ => "",
    };
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nhost: localhost\r\n{extra}{lines}content-length: 0\r\n\r\n"
    );
    ours.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        assert!(ours.read_buf(&mut read).await.unwrap() > 0, "{verb} {path}");
    }
    let head = String::from_utf8_lossy(&read);
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What is wrong with the status of an answer.
fn fault(name: &str, row: &Row, verb: &str, worth: Worth, found: u16) -> Option<String> {
    let wanted = refusal(row, verb, worth);
    let is_right = match wanted {
        Some(status) => found == status,
        None if !row.verbs.contains(&verb) => found == 405,
        None => !matches!(found, 401 | 403 | 405 | 429 | 500),
    };
    let path = &row.path;
    (!is_right).then(|| format!("{name}: {verb} {path} answers {found}, not {wanted:?}"))
}

/// A ticket for the holder of a credential. Those that no path took are waited out.
async fn ticket(bed: &Bed, lines: &str) -> String {
    loop {
        let request = format!(
            "POST /auth/ticket HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: 0\r\n\r\n"
        );
        let reply = bed.client("nobody").exchange(&request).await;
        if reply.status == 200 {
            let made: Value = serde_json::from_str(&reply.body).unwrap();
            return made["ticket"].as_str().unwrap().to_owned();
        }
        assert_eq!(reply.status, 429, "{reply:?}");
        tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_opens_the_streams_that_the_documentation_names_once_and_nothing_else() {
    let provider = Provider::new();
    let bed = Bed::live(design::venue(), &provider.settings()).await;
    let (rows, mut faults) = (rows(), Vec::new());
    let mut taken = 0;
    for role in [Role::Guest, Role::Admin] {
        let word = role.as_str();
        let key = bed.client(word).key.unwrap();
        let token = minted(&bed, &key, "").await;
        let outside = provider.token(&format!("{word}s"), &json!({"exp": 4_000_000_000_u64}));
        for (kind, lines) in [
            ("key", bearer(&key)),
            ("token", bearer(&token)),
            ("token from outside", bearer(&outside)),
        ] {
            let name = format!("ticket of {word}'s {kind}");
            for row in &rows {
                for verb in VERBS {
                    let ticket = ticket(&bed, &lines).await;
                    let sign = if row.path.contains('?') { '&' } else { '?' };
                    let path = format!("{}{sign}ticket={ticket}", row.path);
                    let found = status(&bed, verb, &path, "").await;
                    faults.extend(fault(&name, row, verb, Worth::Ticket, found));
                    if row.who != "anybody" && refusal(row, verb, Worth::Ticket).is_none() {
                        taken += 1;
                        let again = status(&bed, verb, &path, "").await;
                        faults.extend((again != 401).then(|| format!("{name}: twice at {path}")));
                    }
                }
                // Beside a key it is a riddle.
                let beside = format!("{}?ticket={}", row.path, ticket(&bed, &lines).await);
                if refusal(row, "GET", Worth::Ticket).is_none() && row.who != "anybody" {
                    let found = status(&bed, "GET", &beside, &lines).await;
                    faults.extend((found != 401).then(|| format!("{name} and a key: {beside}")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(taken, 2 * 3 * 3);
}

#[tokio::test(start_paused = true)]
async fn who_shows_nothing_comes_as_far_as_the_configuration_says_and_no_further() {
    let anybody = format!("{OPEN}[access]\nanonymous-tools = [\"ping\", \"qsys_get_overview\"]\n");
    let bed = Bed::live(design::venue(), &anybody).await;
    let (rows, mut faults) = (rows(), Vec::new());
    let unknown = bearer(rackhand::guard::key::generate().unwrap().expose());
    for row in &rows {
        for verb in VERBS {
            for (name, lines, worth) in [
                ("anybody", "", Worth::Anybody),
                ("a wrong key", unknown.as_str(), Worth::Nothing),
            ] {
                let found = status(&bed, verb, &row.path, lines).await;
                faults.extend(fault(name, row, verb, worth, found));
            }
        }
    }
    for role in [Role::Guest, Role::Admin] {
        let word = role.as_str();
        let bed = Bed::live(
            design::venue(),
            &format!("{OPEN}[access]\nloopback-role = \"{word}\"\n"),
        )
        .await;
        let (here, there) = (
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([192, 168, 1, 77]),
        );
        let worth = Worth::Local(role.scopes());
        for row in &rows {
            for verb in VERBS {
                for (name, peer, lines, worth) in [
                    ("this machine", here, "", worth),
                    ("the LAN", there, "", Worth::Nothing),
                    (
                        "a proxy here",
                        here,
                        "x-forwarded-for: 192.168.1.77\r\n",
                        Worth::Nothing,
                    ),
                    (
                        "a page here",
                        here,
                        "sec-fetch-mode: no-cors\r\n",
                        Worth::Nothing,
                    ),
                    ("a wrong key here", here, unknown.as_str(), Worth::Nothing),
                ] {
                    let found = status_from(&bed, peer, verb, &row.path, lines).await;
                    let name = format!("{name}, {word}");
                    let fault = fault(&name, row, verb, worth, found);
                    // Too many wrong keys from one address.
                    faults.extend(fault.filter(|_| !(lines == unknown && found == 429)));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn every_route_lets_in_whom_the_documentation_says_and_nobody_else() {
    let provider = Provider::new();
    let bed = Bed::live(design::venue(), &provider.settings()).await;
    let (rows, mut faults, mut asked) = (rows(), Vec::new(), 0);
    for (name, lines, worth) in credentials(&bed, &provider).await {
        for row in &rows {
            for verb in VERBS {
                let found = status(&bed, verb, &row.path, &lines).await;
                faults.extend(fault(&name, row, verb, worth, found));
                asked += 1;
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {asked}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(asked > 5_000, "{asked}");
}

#[test]
fn the_table_that_is_driven_has_every_path_of_every_route() {
    let rows = rows();
    for route in Route::ALL {
        for path in route.paths() {
            let path = path.replace(['{', '}'], "");
            assert!(rows.iter().any(|row| row.path == path), "{path}");
        }
    }
}
