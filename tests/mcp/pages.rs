//! Lists that take several pages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rackhand::http::Limits;
use rackhand::service::{Registry, RegistryError, Service};
use serde_json::{Value, json};

use crate::bed::{Bed, Client};
use crate::shelf::Shelf;

/// Reads a list to its end; the names in order and the number of pages.
async fn read_all(
    client: &mut Client,
    method: &str,
    field: &str,
    name: &str,
) -> (Vec<String>, usize) {
    let (mut names, mut pages) = (Vec::new(), 0);
    let mut params = json!({});
    loop {
        let answer = client.modern(method, params.clone()).await.json();
        let result = &answer["result"];
        pages += 1;
        let entries = result[field].as_array().unwrap();
        names.extend(
            entries
                .iter()
                .map(|entry| entry[name].as_str().unwrap().to_owned()),
        );
        assert_eq!(
            result["cacheScope"], "private",
            "all pages carry the same scope"
        );
        match &result["nextCursor"] {
            Value::Null => return (names, pages),
            cursor => params["cursor"] = cursor.clone(),
        }
    }
}

fn bed(shelf: &Arc<Shelf>, page: usize) -> Bed {
    let shelf: Arc<dyn Service> = Arc::<Shelf>::clone(shelf);
    Bed::serving(&[shelf], Limits::default(), page)
}

#[tokio::test(start_paused = true)]
async fn every_list_is_read_whole_and_in_order_whatever_the_length_of_a_page() {
    for (method, field, name) in [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
        ),
    ] {
        let shelf = Arc::new(Shelf::with_books(6));
        let mut whole = bed(&shelf, 1000);
        let (all, pages) = read_all(&mut whole.client(), method, field, name).await;
        assert_eq!(pages, 1);
        for page in [1, 2, 3, all.len()] {
            let mut bed = bed(&shelf, page);
            let (names, pages) = read_all(&mut bed.client(), method, field, name).await;
            assert_eq!(names, all, "{method} by {page}");
            assert_eq!(pages, all.len().div_ceil(page), "{method} by {page}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_list_or_of_no_list_is_refused() {
    let shelf = Arc::new(Shelf::with_books(6));
    let mut bed = bed(&shelf, 1);
    let mut client = bed.client();
    let answer = client.modern("resources/list", json!({})).await.json();
    let cursor = answer["result"]["nextCursor"].clone();
    for method in ["tools/list", "prompts/list", "resources/templates/list"] {
        for cursor in [cursor.clone(), json!("bogus"), json!(7), json!(null)] {
            let response = client.modern(method, json!({"cursor": cursor})).await;
            assert_eq!(response.code(), (200, -32602), "{method} {cursor}");
        }
    }
    let answer = client
        .modern("resources/list", json!({"cursor": ""}))
        .await
        .json();
    assert_eq!(answer["result"]["nextCursor"], cursor, "empty is the start");
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_before_the_list_changed_is_refused_instead_of_leaving_entries_out() {
    let shelf = Arc::new(Shelf::with_books(6));
    let mut bed = bed(&shelf, 2);
    let mut client = bed.client();
    let answer = client.modern("resources/list", json!({})).await.json();
    let cursor = answer["result"]["nextCursor"].clone();
    shelf.books.store(4, Ordering::SeqCst);
    let params = json!({"cursor": cursor});
    let response = client.modern("resources/list", params.clone()).await;
    assert_eq!(response.code(), (200, -32602));
    shelf.books.store(6, Ordering::SeqCst);
    let response = client.modern("resources/list", params).await;
    assert_eq!(
        response.code(),
        (200, 0),
        "the same names are the same list"
    );
}

#[test]
fn two_services_that_share_a_name_are_a_fault_of_the_program() {
    let shelf: Arc<dyn Service> = Arc::new(Shelf::default());
    let both = [Arc::clone(&shelf), shelf];
    assert_eq!(
        Registry::new(&both).err(),
        Some(RegistryError::PromptTwice("shelf_tidy"))
    );
}
