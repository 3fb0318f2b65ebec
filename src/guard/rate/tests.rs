use std::net::Ipv4Addr;

use super::*;

fn rates(rules: RateRules) -> Arc<Rates> {
    Arc::new(Rates::new(rules))
}

fn spent(purse: &Purse) -> usize {
    (0..100_000).take_while(|_| purse.spend(1).is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn each_role_has_its_burst_and_its_rate() {
    let rates = rates(RateRules::default());
    for (role, burst, per_minute) in [
        (Role::Guest, 10, 10),
        (Role::Viewer, 60, 300),
        (Role::Operator, 60, 600),
        (Role::Engineer, 100, 1_000),
        (Role::Admin, 200, 10_000),
    ] {
        let purse = Purse::of_key(&rates, role);
        assert_eq!(spent(&purse), burst, "{role:?}");
        let mut through = 0;
        for _ in 0..600 {
            tokio::time::advance(Duration::from_millis(100)).await;
            through += spent(&purse);
        }
        assert!(through.abs_diff(per_minute) <= 1, "{role:?} {through}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_greedy_credential_slows_no_other_and_clones_share_one_bucket() {
    let rates = rates(RateRules::default());
    let greedy = Purse::of_key(&rates, Role::Operator);
    let other = Purse::of_key(&rates, Role::Operator);
    let many: Vec<Purse> = (0..20).map(|_| greedy.clone()).collect();
    let through = (0..1_000).filter(|at| many[at % 20].spend(1).is_ok());
    assert_eq!(through.count(), 60);
    assert_eq!(spent(&other), 60);
}

#[tokio::test(start_paused = true)]
async fn the_bucket_of_all_is_spent_from_by_who_has_something_left_alone() {
    let rates = rates(RateRules {
        all: Some(Rate::new(600, 100)),
        ..RateRules::default()
    });
    let greedy = Purse::of_key(&rates, Role::Operator);
    let other = Purse::of_key(&rates, Role::Operator);
    for _ in 0..1_000 {
        let _ = greedy.spend(1);
        let _ = rates.spend_as_stranger(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    assert_eq!(spent(&other), 40);
    let refusal = other.spend(1).unwrap_err();
    assert_eq!(refusal.whose, Whose::All);
    assert_eq!(refusal.rate, Rate::new(600, 100));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_changes_changes_the_rate_of_everybody_who_shares_the_bucket() {
    let rates = rates(RateRules::default());
    let purse = Purse::of_key(&rates, Role::Guest);
    let held = purse.clone();
    assert_eq!(spent(&held), 10);
    purse.set_role(Role::Admin);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(spent(&held), 200);
    purse.set_role(Role::Guest);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!((1..=10).contains(&spent(&held)));
}

#[tokio::test(start_paused = true)]
async fn addresses_let_in_without_a_credential_are_guests_and_apart_from_strangers() {
    let rates = rates(RateRules::default());
    let address = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));
    let purse = Purse::of_address(&rates, address);
    assert_eq!(spent(&purse), 10);
    assert_eq!(purse.spend(1).unwrap_err().whose, Whose::Address);
    assert!(rates.spend_as_stranger(address).is_ok());
    assert!(
        Purse::of_address(&rates, Ipv4Addr::new(192, 168, 1, 21).into())
            .spend(1)
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_is_allowed_and_for_how_long_to_wait() {
    let purse = Purse::of_key(&rates(RateRules::default()), Role::Guest);
    spent(&purse);
    let refusal = purse.spend(1).unwrap_err();
    assert_eq!(refusal.retry_after, Duration::from_secs(6));
    let told = refusal.to_string();
    for part in ["10 times a minute", "10 at once", "Wait 6 s"] {
        assert!(told.contains(part), "{told}");
    }
    tokio::time::advance(Duration::from_micros(5_999_900)).await;
    let refusal = purse.spend(1).unwrap_err();
    assert_eq!(
        (refusal.retry_after_secs(), refusal.retry_after_ms()),
        (1, 1)
    );
    assert_eq!(Purse::default().spend(u32::MAX), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_person_of_the_identity_provider_has_one_bucket_over_all_tokens() {
    let rates = rates(RateRules::default());
    let person = |number: u8| KeyId::of(&[number; 32]);
    let purse = |number: u8| Purse::of_person(&rates, person(number), Role::Viewer);
    assert_eq!(spent(&purse(1)), 60);
    assert_eq!(purse(1).spend(1).unwrap_err().whose, Whose::Person);
    assert_eq!(spent(&purse(2)), 60);
    assert_eq!(purse(1), purse(1));
}

#[tokio::test(start_paused = true)]
async fn one_ipv6_network_counts_as_one_address() {
    let rates = rates(RateRules::default());
    let host = |number: u128| IpAddr::V6(((0xfd00 << 112) | number).into());
    for number in 0..60 {
        assert!(rates.spend_as_stranger(host(number)).is_ok());
    }
    assert!(rates.spend_as_stranger(host(1 << 40)).is_err());
    assert!(rates.spend_as_stranger(host(1 << 64)).is_ok());
}
