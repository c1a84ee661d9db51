//! Which commands a client of the bus may send for whom nobody vouches.

use super::Command;

/// Start, steer, talk, and spend within limits: what leaves no trace that a person would have to
/// stand by. A list of what is allowed, so that a command which nobody thought of here is refused.
const FOR_BUS_CLIENTS: [(&str, &str); 12] = [
    ("run", "start"),
    ("run", "cancel"),
    ("run", "pause"),
    ("run", "resume"),
    ("run", "signal"),
    ("session", "open"),
    ("session", "close"),
    ("budget", "hold"),
    ("budget", "release"),
    ("policy", "try"),
    ("policy", "explain"),
    ("policy", "backtest"),
];

impl Command {
    /// Whether it may come from a client of the bus whose name is only its own word.
    pub fn is_for_bus_clients(&self) -> bool {
        FOR_BUS_CLIENTS.contains(&(self.role(), self.verb()))
    }

    /// Role and verb of each command that may.
    pub fn for_bus_clients() -> &'static [(&'static str, &'static str)] {
        &FOR_BUS_CLIENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_them_is_a_public_command() {
        let catalogue = Command::catalogue();
        for (role, verb) in FOR_BUS_CLIENTS {
            let mut found = catalogue.iter();
            let public = found.any(|doc| doc.public && (doc.role, doc.verb) == (role, verb));
            assert!(public, "{role}.{verb}");
        }
    }
}
