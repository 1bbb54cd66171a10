//! Who goes first when every core is busy.

use std::{fs, path::Path, process::Command, thread};

use proxima_api::{Restarting, Status, paths};

use crate::support::{App, Daemon, Pop, Router};

/// The threads with their nice values, field 19 of proc_pid_stat(5): the control thread's, and all others by name.
fn nice(daemon: &Daemon) -> (i32, Vec<(String, i32)>) {
    // It answers when it runs at the priority it is going to have.
    let _: Status = daemon.ask(paths::STATUS);
    let (mut control, mut others) = (None, Vec::new());
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let task = task.unwrap();
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
        let nice = rest.split(' ').nth(19 - 3).unwrap().parse().unwrap();
        if task.file_name().to_str() == Some(&daemon.pid().to_string()) {
            control = Some(nice);
        } else {
            others.push((name.to_owned(), nice));
        }
    }
    (control.unwrap(), others)
}

fn assert_ordinary(others: &[(String, i32)]) {
    let ordinary = proxima_sys::nice();
    for name in ["worker-0", "worker-1", "rib"] {
        assert!(others.iter().any(|(other, _)| other == name), "{name} is not among {others:?}");
    }
    assert!(others.iter().all(|(_, nice)| *nice == ordinary), "{others:?}");
}

#[test]
fn the_control_thread_alone_goes_before_the_others_where_that_is_allowed_after_a_restart_too() {
    let allowed = thread::spawn(|| proxima_sys::lower_nice(-10)).join().unwrap();
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start_announced(&router);
    for process in 0.. {
        let (control, others) = nice(&daemon);
        assert_eq!(control, allowed);
        assert_ordinary(&others);
        if process == 1 {
            break;
        }
        let _: Restarting = daemon.post(paths::RESTART, r#"{"force": true}"#);
        router.wait_complete(1);
    }
}

#[test]
fn without_the_right_to_it_the_control_thread_is_as_the_others_and_says_so() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = Daemon::launch(without_priority(&pop.write()), &pop.socket());
    let (control, others) = nice(&daemon);
    assert_eq!(control, proxima_sys::nice());
    assert_ordinary(&others);
    daemon.wait_log("the control thread has ordinary priority");
}

/// Starts the daemon without what lets it raise a priority, whoever runs the tests.
fn without_priority(config: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.arg("--nice=0:0");
    if nix::unistd::geteuid().is_root() {
        command.args(["setpriv", "--bounding-set", "-sys_nice"]);
    }
    command.arg(env!("CARGO_BIN_EXE_proximad")).arg("--config").arg(config);
    command.env_remove("PROXIMA_LOG").env("NO_COLOR", "1");
    command
}
