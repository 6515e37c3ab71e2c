//! For which vehicles a deployment shall be, as a request says it.

use super::deployments::{ALL, parsed};
use super::problem::Problem;
use crate::registry::Target;
use fleet_model::{Scope, Tag, Tags};

/// For which vehicles a deployment shall be; `None`: for those that it is for already. To say either is to say both: who
/// names vehicles means these alone, and who names tags does not mean the vehicles of before as well.
pub(super) fn target(vehicles: Option<Vec<String>>, tags: Option<Vec<String>>) -> Result<Option<Target>, Problem> {
    let tags = tags.map(|names| parsed::<Tag>("tags", &names)).transpose()?;
    let tags = tags.map(Tags::new).transpose().map_err(|error| Problem::malformed_request(format!("tags: {error}")))?;
    let vehicles = vehicles.map(|names| match &*names {
        [all] if all == ALL => Ok(Scope::ALL),
        some => parsed("vehicles", some).map(Scope::only),
    });
    match (vehicles.transpose()?, tags) {
        (None, None) => Ok(None),
        (Some(vehicles), Some(_)) if vehicles.is_all() => {
            Err(Problem::malformed_request("tags: vehicles names all of them already; leave out one of the two"))
        }
        (vehicles, tags) => {
            Ok(Some(Target { vehicles: vehicles.unwrap_or_else(|| Scope::only([])), tags: tags.unwrap_or_default() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(ToString::to_string).collect())
    }

    fn tags(names: &[&str]) -> Tags {
        Tags::new(names.iter().map(|name| name.parse().unwrap())).unwrap()
    }

    #[test]
    fn vehicles_and_tags_are_said_together() {
        let bus = || "BUS-1".parse().unwrap();
        for (vehicles, tagged, expected) in [
            (None, None, None),
            (names(&["*"]), None, Some(Target::ALL)),
            (names(&["BUS-1"]), None, Some(Target::only([bus()], Tags::NONE))),
            (None, names(&["night"]), Some(Target::only([], tags(&["night"])))),
            (names(&["BUS-1"]), names(&["b", "a"]), Some(Target::only([bus()], tags(&["a", "b"])))),
        ] {
            assert_eq!(target(vehicles, tagged).unwrap(), expected);
        }
    }

    #[test]
    fn what_names_nobody_or_everybody_twice_is_refused() {
        for (vehicles, tagged, words) in [
            (names(&[]), None, "vehicles: name at least one"),
            (None, names(&[]), "tags: name at least one"),
            (names(&["BUS-1"]), names(&["*"]), "tags"),
            (names(&["*"]), names(&["night"]), "names all of them already"),
        ] {
            let problem = target(vehicles, tagged).unwrap_err();
            assert!(problem.to_string().contains(words), "{problem}");
        }
    }
}
