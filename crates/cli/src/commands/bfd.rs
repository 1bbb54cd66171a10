//! `proxima bfd`: the BFD sessions.

use proxima_api::{BfdSession, BfdSessions, BfdState, paths};

use crate::{
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, span},
};

pub(crate) async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<BfdSessions>(paths::BFD).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("FOR", Align::Right),
        ("DETECTS IN", Align::Right),
        ("LOST", Align::Right),
    ]);
    for session in &answer.value.sessions {
        let address = match &session.interface {
            Some(interface) => format!("{}%{interface}", session.remote),
            None => session.remote.to_string(),
        };
        let cells = [
            (&session.peer).into(),
            address.into(),
            Cell::toned(session.state),
            span(session.since_ms).into(),
            Cell::or_dash((session.detection_us > 0).then(|| ms(session.detection_us))),
            session.flaps.into(),
        ];
        table.noted_row(cells, note(session));
    }
    if table.is_empty() {
        return Ok(output.line("no peer has BFD")?);
    }
    Ok(output.table(&table)?)
}

fn ms(microseconds: u64) -> String {
    if microseconds.is_multiple_of(1000) {
        format!("{} ms", microseconds / 1000)
    } else {
        format!("{:.1} ms", microseconds as f64 / 1000.0)
    }
}

/// How often packets go either way, and what follows from it.
pub(super) fn pace(session: &BfdSession) -> String {
    let each = if session.transmit_us == session.receive_us {
        ms(session.transmit_us)
    } else {
        format!("{} out, {} in", ms(session.transmit_us), ms(session.receive_us))
    };
    match session.detection_us {
        0 => format!("{each} × {}", session.multiplier),
        detection => format!("{each} × {}, gone after {}", session.multiplier, ms(detection)),
    }
}

fn note(session: &BfdSession) -> String {
    match (session.state, &session.diagnostic, session.remote_state) {
        (BfdState::Up, ..) | (_, None, Some(_)) => String::new(),
        (_, Some(diagnostic), _) => diagnostic.clone(),
        (_, None, None) => "never heard".to_owned(),
    }
}
