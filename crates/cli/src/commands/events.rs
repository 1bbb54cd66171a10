//! `proxima events`: what happened, and with `--follow` what happens.

use proxima_api::{Event, EventLine, Events, paths};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::EventsArgs,
    client::{Client, Lines},
    failure::Failure,
    output::{Output, Tone},
};

pub(crate) async fn run(args: &EventsArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    if args.follow {
        return follow(args, client, output).await;
    }
    let answer = client.get::<Events>(&format!("{}?since={}", paths::EVENTS, args.since)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    if answer.value.lost > 0 {
        lost(answer.value.lost, output)?;
    }
    for event in &answer.value.events {
        print(event, output)?;
    }
    Ok(())
}

async fn follow(args: &EventsArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let following = async {
        let lines = client.lines(&format!("{}?since={}&follow=true", paths::EVENTS, args.since)).await?;
        stream(lines, output).await
    };
    tokio::select! {
        ended = following => ended,
        _ = interrupt.recv() => Ok(()),
    }
}

async fn stream(mut lines: Lines, output: &mut Output) -> Result<(), Failure> {
    while let Some(line) = lines.next().await? {
        if output.json() {
            output.raw(&line)?;
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(EventLine::Event(event)) => print(&event, output)?,
            Ok(EventLine::Lost { lost: count }) => lost(count, output)?,
            // A newer daemon's event: better shown raw than not at all.
            Err(_) => output.raw(&line)?,
        }
    }
    Ok(())
}

fn print(event: &Event, output: &mut Output) -> Result<(), Failure> {
    let text = output.toned(event.kind.severity().into(), &event.kind);
    Ok(output.line(format_args!("{} {text}", event.at))?)
}

fn lost(count: u64, output: &mut Output) -> Result<(), Failure> {
    Ok(output.line(output.toned(Tone::Doubtful, format_args!("({count} events are no longer kept)")))?)
}
