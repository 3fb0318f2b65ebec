//! What a power cut leaves of the last segment.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_half_written_end_is_cut_off_and_told_wherever_the_power_went() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.write("desk", 1);
    bed.kill().await;
    let path = files(store.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let last_line = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    let mut ends: Vec<Vec<u8>> = (last_line + 1..whole.len())
        .step_by(37)
        .map(|at| whole[..at].to_vec())
        .collect();
    ends.push([&whole[..], &[0; 3000]].concat());
    ends.push([&whole[..], &b"\xff\xfe\n\n{}\n"[..]].concat());
    for end in ends {
        fs::write(&path, &end).unwrap();
        let bed = Bed::start(store.path());
        bed.write("desk", 2);
        bed.stop().await;
        let report = verify(store.path());
        assert!(
            report.is_whole() && report.is_stopped && report.cuts == 1,
            "{report}"
        );
        let cut = lines(store.path())
            .into_iter()
            .find(|line| line["kind"] == "cut")
            .unwrap();
        let good = if end.len() > whole.len() {
            whole.len()
        } else {
            last_line
        };
        assert_eq!(cut["detail"]["bytes"], end.len() - good);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_nothing_but_zeros_is_put_aside() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    bed.stop().await;
    let begun = store.path().join(FOLDER).join("audit-000000000004.jsonl");
    fs::write(&begun, [0; 512]).unwrap();
    let bed = Bed::start(store.path());
    bed.stop().await;
    let report = verify(store.path());
    assert!(report.is_whole() && report.cuts == 1, "{report}");
    assert!(!begun.exists() && store.path().join(FOLDER).join("audit-damaged").exists());
}

#[tokio::test(start_paused = true)]
async fn lines_behind_a_hole_that_a_power_cut_left_are_cut_off_with_it() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    for value in 0..20 {
        bed.write("desk", value);
    }
    bed.kill().await;
    let path = files(store.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for sector in 2..whole.len() / 512 {
        let mut torn = whole.clone();
        torn[sector * 512..][..512].fill(0);
        fs::write(&path, &torn).unwrap();
        let bed = Bed::start(store.path());
        bed.stop().await;
        let report = verify(store.path());
        assert!(
            report.is_whole() && report.is_stopped && report.cuts == 1,
            "{report}"
        );
        let there = fs::read(&path).unwrap();
        let good = torn[..sector * 512].iter().rposition(|byte| *byte == b'\n');
        let good = good.unwrap() + 1;
        assert_eq!(there[..good], torn[..good]);
        let cut = lines(store.path());
        let cut = cut.iter().find(|line| line["kind"] == "cut").unwrap();
        assert_eq!(cut["detail"]["bytes"], whole.len() - good);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_a_trail_that_ended_in_good_order_was_left_by_no_power_cut_and_shows() {
    let store = tempfile::tempdir().unwrap();
    let bed = Bed::start(store.path());
    for value in 0..20 {
        bed.write("desk", value);
    }
    bed.stop().await;
    let path = files(store.path()).pop().unwrap();
    let mut torn = fs::read(&path).unwrap();
    torn[1024..1536].fill(0);
    fs::write(&path, &torn).unwrap();
    let bed = Bed::start(store.path());
    bed.stop().await;
    assert!(!verify(store.path()).is_whole());
    assert_eq!(fs::read(&path).unwrap()[..torn.len()], torn);
}
