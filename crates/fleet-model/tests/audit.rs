//! The chain of audit records: whatever is done to it is found.
#![allow(clippy::unwrap_used)]

use fleet_model::audit::{
    ABOUT_LEN_MAX, Act, ActKind, ActOutcome, AuditRecord, Chain, ChainBreak, DETAILS_LEN_MAX, InvalidAct, Link, Origin,
    REASON_LEN_MAX,
};
use fleet_model::{TenantId, Timestamp};
use proptest::prelude::*;

fn tenant() -> TenantId {
    "demo".parse().unwrap()
}

fn act(number: u64) -> Act {
    Act::new(Timestamp(1_708_353_714_000 + number as i64), ActKind::DeploymentChanged, "alice")
        .of(&tenant())
        .about("zones")
        .revision(number)
        .plugin([7; 32])
        .config([number as u8; 32])
        .details(r#"{"plugin":"geofence"}"#)
}

fn origin(number: u64) -> Origin {
    let link = Link { number, previous: [number as u8; 32], hash: [number as u8 + 1; 32] };
    Origin { edge: "depot-1".parse().unwrap(), epoch: 9, received_time: Timestamp(5), link }
}

fn chain(len: u64) -> (Vec<AuditRecord>, Chain) {
    let mut chain = Chain::default();
    let of = |number: u64| (act(number), number.is_multiple_of(3).then(|| origin(number)));
    let records = (1..=len).map(of).map(|(act, origin)| chain.seal(act, origin)).collect();
    (records, chain)
}

/// Whether the records are this chain, whole up to its head.
fn verified(records: &[AuditRecord], head: Chain) -> Result<(), String> {
    let mut chain = Chain::default();
    records.iter().try_for_each(|record| chain.follow(record)).map_err(|error| error.to_string())?;
    if chain == head { Ok(()) } else { Err(format!("it ends at {}, not at {}", chain.number, head.number)) }
}

/// One thing of a record that somebody may change.
fn changed(record: &mut AuditRecord, what: u8) {
    let act = &mut record.act;
    match what {
        0 => act.time.0 += 1,
        1 => act.tenant = None,
        2 => act.tenant = Some("other".parse().unwrap()),
        3 => act.who.push('x'),
        4 => act.act = ActKind::DeploymentRolledBack.as_str().into(),
        5 => act.about.clear(),
        6 => act.revision = None,
        7 => act.revision = act.revision.map(|revision| revision + 1),
        8 => act.plugin_hash = None,
        9 => act.config_hash = Some([255; 32]),
        10 => act.outcome = ActOutcome::Refused,
        11 => act.reason = "no".into(),
        12 => act.details.clear(),
        // A byte from one text to its neighbour.
        13 => {
            act.about.insert(0, 'd');
            act.act.pop();
        }
        14 => record.origin = if record.origin.is_some() { None } else { Some(origin(200)) },
        15 => record.link.previous[31] ^= 1,
        16 => record.link.hash[0] ^= 1,
        _ => record.link.number += 1,
    }
}

#[test]
fn a_chain_follows_itself_and_a_break_is_named() {
    let (records, head) = chain(5);
    assert_eq!(verified(&records, head), Ok(()));
    let mut chain = Chain::default();
    chain.follow(&records[0]).unwrap();
    assert_eq!(chain.follow(&records[2]), Err(ChainBreak::Number { expected: 2, found: 3 }));
    assert_eq!(chain.follow(&records[3]), Ok(()), "the rest is told apart from the break");
    // Somebody who can compute hashes makes the last record anew: only its own end differs.
    let mut forged = records.clone();
    let mut before = Chain { number: 4, head: records[3].link.hash };
    forged[4] = before.seal(Act { about: "another".into(), ..act(5) }, None);
    assert!(verified(&forged, before).is_ok() && verified(&forged, head).is_err(), "whoever kept the head notices");
}

/// The hashes are stored and compared across releases. These were computed by another program, from docs/protocol.md.
#[test]
fn a_record_has_the_hash_that_it_always_had() {
    let (records, _) = chain(3);
    let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(records[0].link.hash), "b2a5ec1a00e812cf5b3847bc8d949da6f764b97a1846073dd2e90b79a9d91864");
    assert_eq!(hex(records[2].link.hash), "9d09386395a80db063ecf72f51fce696165b0bdbfca1e9d8dc842b61d745ae75");
    assert_eq!(records[0].id().0, records[0].link.hash[..16]);
    assert_eq!(records[2].id().0, origin(3).link.hash[..16], "it has the name that it was given first");
}

#[test]
fn what_a_program_says_too_much_is_cut_and_what_a_peer_says_too_much_is_refused() {
    let long = "ä".repeat(3_000);
    let cut = Act::new(Timestamp(1), ActKind::PluginRefused, "alice").about(&long).refused(&long).details(&long);
    assert_eq!((cut.about.len(), cut.reason.len(), cut.details.len()), (ABOUT_LEN_MAX, REASON_LEN_MAX, 0));
    let record = |act: Act, origin| Chain::default().seal(act, origin);
    record(cut.clone(), None).check().unwrap();
    for (what, act) in [
        ("who", Act { who: "x".repeat(129), ..cut.clone() }),
        ("who", Act { who: String::new(), ..cut.clone() }),
        ("who", Act { who: "a\nb".into(), ..cut.clone() }),
        ("act", Act { act: "x".repeat(65), ..cut.clone() }),
        ("act", Act { act: "Drop table".into(), ..cut.clone() }),
        ("act", Act { act: String::new(), ..cut.clone() }),
        ("about", Act { about: "x".repeat(257), ..cut.clone() }),
        ("reason", Act { reason: "x".repeat(REASON_LEN_MAX + 1), ..cut.clone() }),
        ("details", Act { details: "x".repeat(DETAILS_LEN_MAX + 1), ..cut.clone() }),
        ("details", Act { details: "{\n}".into(), ..cut.clone() }),
        ("details", Act { details: "{} ".into(), ..cut.clone() }),
        ("time", Act { time: Timestamp(-1), ..cut.clone() }),
        ("time", Act { time: Timestamp(i64::MAX), ..cut.clone() }),
    ] {
        let refused = record(act, None).check().unwrap_err();
        let (InvalidAct::TooLong { what: found, .. }
        | InvalidAct::Text { what: found, .. }
        | InvalidAct::Range { what: found, .. }) = refused;
        assert_eq!(found, what);
    }
    let mut nowhere = record(cut.clone(), Some(origin(1)));
    nowhere.origin.as_mut().unwrap().link.number = 0;
    assert!(matches!(nowhere.check(), Err(InvalidAct::Range { what: "number", .. })));
}

#[test]
fn acts_have_names_that_pass_their_own_check_each_once() {
    for (place, kind) in ActKind::ALL.iter().enumerate() {
        let record = Chain::default().seal(Act::new(Timestamp(1), *kind, "drover"), None);
        record.check().unwrap();
        assert!(ActKind::ALL[..place].iter().all(|other| other.as_str() != kind.as_str()), "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_change_removal_exchange_and_repeat_is_found(
        len in 2..20_u64,
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        what in 0..18_u8,
        how in 0..4_u8,
    ) {
        let (good, head) = chain(len);
        let (at, other) = (at.index(good.len()), other.index(good.len()));
        let mut records = good.clone();
        match how {
            0 => changed(&mut records[at], what),
            1 => drop(records.remove(at)),
            2 => records.swap(at, other),
            _ => records.insert(other, good[at].clone()),
        }
        prop_assert_eq!(verified(&records, head).is_ok(), records == good);
    }
}
