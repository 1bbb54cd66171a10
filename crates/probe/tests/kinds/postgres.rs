//! PostgreSQL itself.

use std::time::Duration;

use proxima_health::{Failure, Loss};
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Postgres as Settings, Role, Tls, Trust};

use crate::support::{Probing, fails, password, postgres::Postgres};

fn as_user(user: &str) -> Settings {
    Settings {
        user: user.to_owned(),
        database: Some("postgres".to_owned()),
        password_file: None,
        tls: None,
        role: None,
        max_lag: None,
    }
}

fn with_role(role: Role) -> ProbeKind {
    ProbeKind::Postgres(Settings { role: Some(role), ..as_user("postgres") })
}

#[tokio::test]
async fn a_primary_and_its_replica_are_told_apart() {
    let primary = Postgres::primary();
    let replica = primary.replica();
    Probing::often(primary.address, with_role(Role::Primary)).up().await;
    Probing::often(replica.address, with_role(Role::Replica)).up().await;
    let failure = fails(primary.address, with_role(Role::Replica)).await;
    assert_eq!(failure, "it is a primary, and a replica is asked for");
    let mut promoted = Probing::often(replica.address, with_role(Role::Replica));
    promoted.up().await;
    replica.sql("SELECT pg_promote()");
    assert_eq!(promoted.failure().await.to_string(), "it is a primary, and a replica is asked for");
}

#[tokio::test]
async fn a_replica_that_stops_replaying_is_behind_after_its_limit_and_an_idle_one_never_is() {
    let primary = Postgres::primary();
    primary.sql("CREATE TABLE visits (at timestamptz)");
    let replica = primary.replica();
    let max_lag = Some(Duration::from_millis(500));
    let kind = ProbeKind::Postgres(Settings { max_lag, ..as_user("postgres") });
    let mut probing = Probing::often(replica.address, kind);
    probing.up().await;
    // Nothing is written for longer than the limit: the replica lacks nothing.
    assert!(
        probing.is_silent_for(Duration::from_millis(1200)).await,
        "an idle primary makes no replica late"
    );
    replica.sql("SELECT pg_wal_replay_pause()");
    primary.sql("INSERT INTO visits VALUES (now())");
    match probing.failure().await {
        Failure::Lag { limit, lag } => assert!(lag > limit, "{lag:?} {limit:?}"),
        other => panic!("{other}"),
    }
    replica.sql("SELECT pg_wal_replay_resume()");
    probing.up().await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let server = Postgres::primary();
    server.sql("CREATE ROLE probe LOGIN PASSWORD 'right'");
    let with = |word: &str| {
        ProbeKind::Postgres(Settings {
            password_file: Some(password(directory.path(), word)),
            ..as_user("probe")
        })
    };
    Probing::often(server.address, with("right")).up().await;
    for (kind, expected) in [
        (
            with("wrong"),
            "the app refuses: password authentication failed for user \"probe\"; check `user`, `password-file` and the server's pg_hba.conf",
        ),
        (
            ProbeKind::Postgres(as_user("probe")),
            "the app refuses: it asks for a password; set `password-file`",
        ),
        (
            ProbeKind::Postgres(Settings { database: Some("none".to_owned()), ..as_user("postgres") }),
            "the app refuses: database \"none\" does not exist",
        ),
        (
            ProbeKind::Postgres(Settings {
                tls: Some(Tls { server_name: None, trust: Trust::Anyone, min_validity: None }),
                ..as_user("postgres")
            }),
            "the app refuses: it offers no TLS",
        ),
    ] {
        assert_eq!(fails(server.address, kind).await, expected);
    }
}

#[tokio::test]
async fn a_login_over_tls_proves_who_the_server_is() {
    let server = Postgres::secured();
    let authority = server.authority.as_ref().unwrap();
    let over = |tls| ProbeKind::Postgres(Settings { tls: Some(tls), ..as_user("postgres") });
    let good = crate::support::tls(&authority.file);
    Probing::often(server.address, over(good.clone())).up().await;
    let other = Tls { server_name: Some("other.example".to_owned()), ..good };
    let failure = fails(server.address, over(other)).await;
    assert!(failure.starts_with("certificate: it is for "), "{failure}");
}

#[tokio::test]
async fn a_killed_server_is_noticed_by_the_standing_session() {
    let mut server = Postgres::primary();
    let mut probing = Probing::rarely(server.address, ProbeKind::Postgres(as_user("postgres")));
    probing.up().await;
    server.server.kill();
    assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
}
