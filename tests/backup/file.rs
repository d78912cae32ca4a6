//! Files that are not what was written.

use rekey::{
    backup::{self, BackupError},
    crypto::{Keyring, SystemEntropy},
    store::{Cell, Store},
};

use crate::{NOW, back_up, common::rekey::Rekey, elsewhere, empty, keyring, populate, restore};

async fn check(file: &[u8], keyring: &Keyring) -> Result<(), BackupError> {
    backup::check(file, keyring, |_| {}).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_byte_anywhere_is_refused() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let keyring = keyring(&rekey.options.keyring_file);
    check(&file, &keyring).await.unwrap();
    let mut altered = file.clone();
    for place in 0..file.len() {
        altered[place] ^= 1 << (place % 8);
        assert!(check(&altered, &keyring).await.is_err(), "byte {place} of {}", file.len());
        altered[place] = file[place];
    }
    println!("{} alterations refused, one in each byte", file.len());
    rekey.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_or_goes_on_is_refused() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let keyring = keyring(&rekey.options.keyring_file);
    for length in 0..file.len() {
        assert!(check(&file[..length], &keyring).await.is_err(), "{length} bytes");
    }
    let longer = [&file[..], b"\n"].concat();
    assert!(check(&longer, &keyring).await.unwrap_err().to_string().contains("follows its end"));
    let twice = [&file[..], &file[..]].concat();
    assert!(check(&twice, &keyring).await.is_err());
    rekey.stop().await;
}

/// Frames are whole and each is ours, but they do not follow each other.
#[tokio::test(flavor = "multi_thread")]
async fn frames_in_another_order_are_refused() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let (other, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let keyring = keyring(&rekey.options.keyring_file);
    let (frames, others) = (frames(&file), frames_of(&other));
    assert!(frames.len() > 16);
    let whole = |order: &[&[u8]]| [&file[..16], &order.concat()].concat();
    check(&whole(&frames), &keyring).await.unwrap();
    for place in 1..frames.len() - 1 {
        let mut lacking = frames.clone();
        lacking.remove(place);
        assert!(check(&whole(&lacking), &keyring).await.is_err(), "without {place}");
        let mut swapped = frames.clone();
        swapped.swap(place, place + 1);
        assert!(check(&whole(&swapped), &keyring).await.is_err(), "{place} swapped");
        let mut doubled = frames.clone();
        doubled.insert(place, frames[place]);
        assert!(check(&whole(&doubled), &keyring).await.is_err(), "{place} twice");
        let mut mixed = frames.clone();
        mixed[place] = others[place];
        assert!(check(&whole(&mixed), &keyring).await.is_err(), "{place} of another backup");
    }
    rekey.stop().await;
}

fn frames(file: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut rest) = (Vec::new(), &file[16..]);
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let (frame, after) = rest.split_at(1 + 4 + length + 32);
        frames.push(frame);
        rest = after;
    }
    frames
}

use self::frames as frames_of;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_and_what_is_anothers_is_refused_with_its_reason() {
    let rekey = Rekey::start().await;
    let (file, _) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
    let (directory, ours) = elsewhere(&rekey.options.keyring_file);
    let into = empty(&directory);

    let none = restore(b"SQLite format 3\0 and more than sixteen", &ours, &into[0]).await.unwrap_err();
    assert!(none.to_string().contains("no backup of rekey"), "{none}");

    let theirs = directory.path().join("theirs.json");
    Keyring::create(&theirs, NOW, &SystemEntropy).unwrap();
    let foreign = restore(&file, &theirs, &into[0]).await.unwrap_err();
    let id = back_up(&rekey.options.store, &ours).await.1.key_id;
    assert!(matches!(&foreign, BackupError::Keyring(sentence) if sentence.contains(&id)), "{foreign}");
    assert!(!into[0].sqlite_path().unwrap().exists());
    rekey.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_and_many_rows_come_through() {
    let rekey = Rekey::start().await;
    let paused = rekey.pause().await;
    let raw = crate::common::sql::connect(&paused.options.store.url).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO audit (uid, tenant_uid, time, actor, action, outcome, request_id, detail)
        SELECT printf('%024x', i), 't', i, 'a', 'b', 'c', 'd', CASE WHEN i % 500 = 0
            THEN replace(hex(zeroblob(400000)), '0', 'ö') ELSE '' END FROM n";
    sea_orm::ConnectionTrait::execute_unprepared(&raw, many).await.unwrap();
    let (file, summary) = back_up(&paused.options.store, &paused.options.keyring_file).await;
    assert!(file.len() > 6 * 1_600_000);
    let (directory, keyring_file) = elsewhere(&paused.options.keyring_file);
    for into in empty(&directory) {
        restore(&file, &keyring_file, &into).await.unwrap();
        let store = Store::connect(&into).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let audit = snapshot.tables().iter().find(|table| table.name == "audit").unwrap().clone();
        let (mut rows, mut longest) = (0, 0);
        let take = |page: Vec<Vec<Cell>>| {
            rows += page.len();
            for cell in page.iter().flatten() {
                if let Cell::Text(Some(text)) = cell {
                    longest = longest.max(text.len());
                }
            }
            Ok::<_, rekey::domain::Error>(())
        };
        snapshot.rows(&audit, take).await.unwrap();
        assert_eq!(rows as u64, summary.tables.iter().find(|(name, _)| name == "audit").unwrap().1);
        assert_eq!(longest, 1_600_000);
        snapshot.end().await;
        store.close().await;
    }
}
