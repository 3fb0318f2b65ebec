//! Capacities of keys, tokens, tickets and rates.

/// Longest operator-chosen key or key sent by a client, bytes. A longer one is refused unread.
pub const KEY_MAX_BYTES: usize = 256;

/// Longest bearer token, bytes: identity providers that put every group into it reach a few thousand. A longer one is refused unread.
pub const TOKEN_MAX_BYTES: usize = 8 << 10;

/// Longest head of a bearer token, bytes of Base64. A longer one is refused unread.
pub const TOKEN_HEAD_MAX_BYTES: usize = 2 << 10;

/// Longest body of a request for a bearer token, bytes: a life and six scopes. A longer one is refused unread.
pub const WISH_MAX_BYTES: usize = 4 << 10;

/// Shortest secret that signs bearer tokens, bytes: as long as the hash of HS256 (RFC 7518, section 3.2). A shorter one is refused.
pub const TOKEN_SECRET_MIN_BYTES: usize = 32;

/// Bearer tokens whose signature was checked and is not checked again, of our own and of an identity provider each: more than people and
/// panels of a site. One more forgets all of them, and each is checked once again.
pub const TOKENS_CHECKED_MAX: usize = 256;

/// Longest life of a bearer token of our own, seconds. A longer one cannot be configured, and one that claims it is refused.
pub const TOKEN_LIFE_MAX_SECS: u64 = 24 * 3_600;

/// Longest time in which tokens can be refreshed from one showing of a key, seconds. A longer one cannot be configured.
pub const TOKEN_CHAIN_MAX_SECS: u64 = 30 * 24 * 3_600;

/// Longest document with the keys of an identity provider, bytes. A longer one is not read; the keys known before stay.
pub const PROVIDER_KEYS_MAX_BYTES: usize = 64 << 10;

/// Keys of an identity provider. A set with more is not taken.
pub const PROVIDER_KEYS_MAX: usize = 32;

/// Longest name of such a key, bytes. One with a longer name is left out.
pub const PROVIDER_KEY_ID_MAX_BYTES: usize = 256;

/// Seconds between two looks at an identity provider's keys.
pub const PROVIDER_REFRESH_SECS: u64 = 3_600;

/// Least seconds between two looks, however many tokens name a key that is not known.
pub const PROVIDER_FETCH_MIN_SECS: u64 = 60;

/// Seconds for which keys hold that could not be read again since. After that nobody comes in by them.
pub const PROVIDER_KEYS_AGE_MAX_SECS: u64 = 24 * 3_600;

/// Entries in the list of roles for tokens from outside.
pub const PROVIDER_ROLES_MAX: usize = 64;

/// Keys in the key file. One more is refused when it is made.
pub const KEYS_MAX: usize = 256;

/// Longest key file, bytes: room for [`KEYS_MAX`] keys with long names. A change that would make it longer is refused, and a longer one
/// is not read.
pub const KEY_FILE_MAX_BYTES: u64 = 256 << 10;

/// Bytes of the patterns of components of all keys together. A key that would pass it is refused when it is made; one of a file that does
/// is left out.
pub const REACH_TEXT_MAX_BYTES: usize = 64 << 10;

/// Patterns of components of one key. More are refused when it is made; a key of a file that has more is left out.
pub const REACH_PATTERNS_MAX: usize = 32;

/// Longest pattern of components of a key, characters: longer than any name that one person types. A longer one is refused.
pub const REACH_PATTERN_MAX_CHARS: usize = 128;

/// Addresses (one IPv4 address, or one IPv6 /64) whose failed logins are remembered. One more forgets the eighth that may try again
/// soonest.
pub const LOGIN_FAILURES_MAX: usize = 1_024;

/// Addresses (likewise) or persons whose requests are counted, in each of three tables: addresses without a credential, addresses let in
/// without one, and persons whom the identity provider vouches for. One more forgets the buckets that are full, or the eighth that is
/// fullest.
pub const RATED_MAX: usize = 4_096;

/// Most requests a minute that can be configured as a rate: more than the box answers.
pub const RATE_PER_MINUTE_MAX: u32 = 1_000_000;

/// Most requests at once that can be configured as a burst.
pub const RATE_BURST_MAX: u32 = 10_000;

/// Networks of one key. More are refused when it is made.
pub const KEY_NETWORKS_MAX: usize = 16;

/// Shortest key that comes from the environment or from a systemd credential, characters. A shorter one can be guessed and is refused.
pub const GIVEN_KEY_MIN_CHARS: usize = 16;

/// Keys that come from the environment and from systemd credentials together. More are a fault of the configuration.
pub const GIVEN_KEYS_MAX: usize = 64;

/// Tools that the configuration may open to anybody.
pub const ANONYMOUS_TOOLS_MAX: usize = 16;

/// Longest body that is read of somebody who was not let in, bytes: room for a `ping`.
pub const PING_MAX_BYTES: usize = 256;

/// Such bodies that are read at the same moment. Whoever sends one more is told that a key is missing.
pub const PINGS_MAX: usize = 16;

/// Seconds until such a body must be there. Then the same is told.
pub const PING_TIMEOUT_SECS: u64 = 2;

/// Seconds for which a one-use ticket is good.
pub const TICKET_LIFE_SECS: u64 = 60;

/// Tickets that are out at the same moment. One more is refused as busy.
pub const TICKETS_MAX: usize = 256;

/// Of these, tickets made with one key. One more is refused as busy.
pub const TICKETS_PER_CREDENTIAL_MAX: usize = 16;
