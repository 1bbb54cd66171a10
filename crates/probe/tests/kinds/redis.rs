//! Redis itself.

use std::time::Duration;

use proxima_health::Loss;
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Redis as Settings, Role, Tls};

use crate::support::{
    Probing,
    certificates::{Authority, NAME},
    fails, password,
    redis::Redis,
    tls,
};

const ANY: Settings = Settings { user: None, password_file: None, tls: None, role: None, max_lag: None };

#[tokio::test]
async fn a_primary_and_its_replica_are_told_apart() {
    let primary = Redis::with(&[]);
    let replica = primary.replica();
    let role = |role| ProbeKind::Redis(Settings { role: Some(role), ..ANY });
    Probing::often(primary.address, ProbeKind::Redis(ANY)).up().await;
    Probing::often(primary.address, role(Role::Primary)).up().await;
    Probing::often(replica.address, role(Role::Replica)).up().await;
    let failure = fails(primary.address, role(Role::Replica)).await;
    assert_eq!(failure, "it is a primary, and a replica is asked for");
    let failure = fails(replica.address, role(Role::Primary)).await;
    assert_eq!(failure, "it is a replica, and a primary is asked for");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_behind_after_its_limit() {
    let mut primary = Redis::with(&[]);
    let replica = primary.replica();
    let limit = Some(Duration::from_secs(1));
    let mut probing = Probing::often(replica.address, ProbeKind::Redis(Settings { max_lag: limit, ..ANY }));
    probing.up().await;
    primary.server.kill();
    let failure = probing.failure().await.to_string();
    assert!(failure.ends_with("behind its primary, more than 1s"), "{failure}");
}

#[tokio::test]
async fn a_promoted_replica_is_a_primary_from_the_next_probe() {
    let primary = Redis::with(&[]);
    let replica = primary.replica();
    let kind = ProbeKind::Redis(Settings { role: Some(Role::Replica), ..ANY });
    let mut probing = Probing::often(replica.address, kind);
    probing.up().await;
    assert_eq!(replica.say(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(probing.failure().await.to_string(), "it is a primary, and a replica is asked for");
}

#[tokio::test]
async fn a_password_that_is_missing_or_wrong_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let redis = Redis::with(&["--requirepass", "right"]);
    let with = |word: &str, user: Option<&str>| {
        let password_file = Some(password(directory.path(), word));
        ProbeKind::Redis(Settings { user: user.map(str::to_owned), password_file, ..ANY })
    };
    Probing::often(redis.address, with("right", None)).up().await;
    Probing::often(redis.address, with("right", Some("default"))).up().await;
    let failure = fails(redis.address, ProbeKind::Redis(ANY)).await;
    assert!(failure.contains("password") && failure.contains("`password-file`"), "{failure}");
    let failure = fails(redis.address, with("wrong", None)).await;
    assert!(failure.contains("`password-file`"), "{failure}");
    let failure = fails(redis.address, with("right", Some("nobody"))).await;
    assert!(failure.contains("`user`") && failure.contains("`password-file`"), "{failure}");
}

#[tokio::test]
async fn a_killed_redis_is_noticed_by_the_standing_connection() {
    let mut redis = Redis::with(&[]);
    let mut probing = Probing::rarely(redis.address, ProbeKind::Redis(ANY));
    probing.up().await;
    redis.server.kill();
    assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
}

#[tokio::test]
async fn redis_is_up_over_tls_and_proves_who_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let redis = Redis::secured(&authority.sign(NAME, 2090), &authority);
    let over = |tls| ProbeKind::Redis(Settings { tls: Some(tls), ..ANY });
    Probing::often(redis.address, over(tls(&authority.file))).up().await;
    let other = Tls { server_name: Some("other.example".to_owned()), ..tls(&authority.file) };
    let failure = fails(redis.address, over(other)).await;
    assert!(failure.starts_with("certificate: it is for ") && failure.contains(NAME), "{failure}");
}
