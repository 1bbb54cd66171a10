//! The sections of the file. Each module holds one part's raw form, and how it is read, checked and resolved.
//!
//! *Reading* sees one value at a time. *Checking* compares what was read: it sees every section, and skips what could
//! not be read, so that one mistake never causes a second message. *Resolving* gives the typed form, or nothing
//! when something was wrong.

mod access_log;
mod acme;
mod announce;
mod bgp;
mod catchment;
mod client_tls;
mod limits;
mod notices;
mod passive;
mod place;
mod pools;
mod probe_kinds;
mod probes;
mod process;
mod quic_lb;
mod server_tls;
mod services;

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use crate::{
    Config,
    field::{At, Field},
    report::{Report, Span, Wrong},
    section::Section,
    suggest,
};

/// The whole file, read but not yet understood.
pub(crate) struct Raw {
    pop: Field<place::RawPop>,
    regions: Vec<place::RawRegion>,
    bgp: Field<bgp::RawBgp>,
    groups: Vec<announce::RawGroup>,
    services: Vec<services::RawService>,
    pools: Vec<pools::RawPool>,
    issuers: Vec<acme::RawIssuer>,
    catchment: Field<catchment::RawCatchment>,
    quic_lb: Field<quic_lb::RawQuicLb>,
    limits: limits::RawLimits,
    process: process::RawProcess,
    access_log: Field<access_log::RawAccessLog>,
}

impl Raw {
    /// Reads every section, reporting what can't be read.
    pub(crate) fn read(mut file: Section<'_>) -> Self {
        let raw = Self {
            pop: place::RawPop::read(&mut file),
            regions: place::RawRegion::read(&mut file),
            bgp: bgp::RawBgp::read(&mut file),
            groups: announce::RawGroup::read(&mut file),
            services: services::RawService::read(&mut file),
            pools: pools::RawPool::read(&mut file),
            issuers: acme::RawIssuer::read(&mut file),
            catchment: catchment::RawCatchment::read(&mut file),
            quic_lb: quic_lb::RawQuicLb::read(&mut file),
            limits: limits::RawLimits::read(&mut file),
            process: process::RawProcess::read(&mut file),
            access_log: access_log::RawAccessLog::read(&mut file),
        };
        file.close();
        raw
    }

    /// Reports what does not fit together.
    pub(crate) fn check(&self, report: &Report) {
        place::check(self, report);
        bgp::check(self, report);
        announce::check(self, report);
        services::check(self, report);
        pools::check(self, report);
        acme::check(self, report);
        catchment::check(self, report);
        limits::check(self, report);
        self.check_listen_addresses(report);
    }

    /// The typed form; nothing when anything has been reported.
    pub(crate) fn resolve(&self) -> Option<Config> {
        let pop = resolved(&self.pop, place::RawPop::resolve)??;
        let services = by_name(&self.services, services::RawService::resolve)?;
        let pools = by_name(&self.pools, |pool| pool.resolve(&self.regions))?;
        let around = announce::Around { region: &pop.region, services: &services, pools: &pools };
        Some(Config {
            regions: by_name(&self.regions, place::RawRegion::resolve)?,
            bgp: resolved(&self.bgp, bgp::RawBgp::resolve)??,
            groups: by_name(&self.groups, |group| group.resolve(&around))?,
            pop,
            services,
            pools,
            issuers: by_name(&self.issuers, acme::RawIssuer::resolve)?,
            catchment: resolved(&self.catchment, catchment::RawCatchment::resolve)?,
            quic_lb: resolved(&self.quic_lb, quic_lb::RawQuicLb::resolve)?,
            data_plane: self.process.data_plane(&self.regions)?,
            limits: self.limits.resolve()?,
            drain: self.process.drain()?,
            admin: self.process.admin()?,
            metrics: self.process.metrics()?,
            log: self.process.log()?,
            access_log: access_log::RawAccessLog::resolve(&self.access_log)?,
        })
    }

    fn check_listen_addresses(&self, report: &Report) {
        let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
        let services =
            self.services.iter().flat_map(|service| service.listens().map(|at| (at, service.path.clone())));
        let bgp = self.bgp.value().into_iter().flat_map(|bgp| bgp.listens().map(|at| (at, bgp.path.clone())));
        for (at, path) in services.chain(bgp).chain(self.process.listens()) {
            if let Some(first) = taken.get(&at.value) {
                let wrong =
                    Wrong::new(format!("{} is listened on twice; `{first}` has it already", at.value))
                        .hint("give each listener its own address or port");
                report.elsewhere(at.span.clone(), &format!("{path}.listen"), wrong);
            } else {
                taken.insert(at.value, path);
            }
        }
    }
}

/// A section that may be left out, resolved when it is there; nothing at all when it is wrong.
fn resolved<R, T>(section: &Field<R>, resolve: impl FnOnce(&R) -> Option<T>) -> Option<Option<T>> {
    match section {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Given(at) => resolve(&at.value).map(Some),
    }
}

fn by_name<R, N: Ord, T>(sections: &[R], resolve: impl Fn(&R) -> Option<(N, T)>) -> Option<BTreeMap<N, T>> {
    sections.iter().map(resolve).collect()
}

/// Reports a name that refers to nothing. `kind` is singular; its plural has an `s`.
fn refer<'n, N>(
    report: &Report,
    at: &At<N>,
    path: &str,
    kind: &str,
    known: impl Iterator<Item = &'n N> + Clone,
) where
    N: fmt::Display + PartialEq + 'n,
{
    if known.clone().all(|name| *name != at.value) {
        let wrong = Wrong::new(format!("there is no {kind} `{}`", at.value)).hint(suggest::hint(
            &at.value.to_string(),
            &format!("{kind}s"),
            known,
        ));
        report.elsewhere(at.span.clone(), path, wrong);
    }
}

/// Reports every element that equals an earlier one.
fn distinct<T: PartialEq + fmt::Display>(report: &Report, elements: &[At<T>], path: &str) {
    for (index, at) in elements.iter().enumerate() {
        if elements[..index].iter().any(|earlier| earlier.value == at.value) {
            let wrong = Wrong::new(format!("`{}` is listed twice", at.value)).hint("remove one of the two");
            report.here(at.span.clone(), &format!("{path}[{index}]"), wrong);
        }
    }
}

/// Where a list element stands, for reports.
fn element(path: &str, key: &str, index: usize) -> String {
    format!("{path}.{key}[{index}]")
}

/// A place and its name, for what is said about a section as a whole.
#[derive(Debug, Clone)]
struct Place {
    span: Span,
    path: String,
}

impl Place {
    fn of(section: &Section<'_>) -> Self {
        Self { span: section.span(), path: section.path().to_owned() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}
