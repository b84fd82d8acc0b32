//! Every family there is, in the order of the text and of the reference.

mod daemon;
mod datapath;
mod health;
mod process;
mod proxy;
mod server;
mod service;

use super::family::Section;

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Virtual services",
        about: "The counts are sums over the present real servers of the service: they fall when one is taken out of \
                the configuration. For rates, sum the rates of the servers.",
        families: service::FAMILIES,
    },
    Section {
        title: "Real servers",
        about: "`address` has a port where the real server has one of its own. A real server that was taken out of the \
                configuration stays until its flows have ended.",
        families: server::FAMILIES,
    },
    Section {
        title: "The proxy",
        about: "Of services of layer 7. It begins again when lbd starts. The reasons are explained in \
                [failures.md](failures.md).",
        families: proxy::FAMILIES,
    },
    Section {
        title: "Health checks",
        about: "A real server that is not checked has no such series, nor has one whose first probe has not ended.",
        families: health::FAMILIES,
    },
    Section {
        title: "The datapath",
        about: "It counts on while the daemon is stopped. The reasons are explained in [verdicts.md](verdicts.md).",
        families: datapath::FAMILIES,
    },
    Section { title: "The daemon", about: "They begin again when lbd starts.", families: daemon::FAMILIES },
    Section { title: "The process", about: "The usual names, as for any program.", families: process::FAMILIES },
];
