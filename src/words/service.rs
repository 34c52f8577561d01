//! Service URNs that call for help (RFC 5031): `urn:service:sos`, its sub-services, and the test.
//!
//! Not the numbers that stand for them in a country: those are [`crate::words::plan`].

/// What kind of help, as a service URN says it (RFC 5031 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Emergency services: `urn:service:sos` and below.
    Sos(SubService),
    /// A test call: `urn:service:test.sos` (RFC 6881 section 15) and the plan's test number.
    Test,
}

/// The part of a service URN behind `sos` (RFC 5031 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubService {
    /// None, or one that we do not know.
    General,
    /// `animal-control`
    AnimalControl,
    /// `ambulance`
    Ambulance,
    /// `fire`
    Fire,
    /// `gas`
    Gas,
    /// `marine`
    Marine,
    /// `mountain`
    Mountain,
    /// `physician`
    Physician,
    /// `poison`
    Poison,
    /// `police`
    Police,
}

impl Service {
    /// Reads what follows `urn:`, in any case: `service:` or the misspelt `services:`, then `sos` or `test.sos`, then
    /// labels. `None` for every other URN, services that are no emergency included. Components behind `?` or `#` do
    /// not change what a URN names (RFC 8141 section 3.1).
    pub fn of_urn(urn: &[u8]) -> Option<Self> {
        let urn = urn.split(|b| matches!(b, b'?' | b'#')).next()?;
        let rest = strip_prefix_of_any_case(urn, b"service")?;
        let rest = strip_prefix_of_any_case(rest, b"s").unwrap_or(rest).strip_prefix(b":")?;
        match strip_prefix_of_any_case(rest, b"test.sos") {
            Some(labels) => labels_only(labels).map(|_| Self::Test),
            None => labels_only(strip_prefix_of_any_case(rest, b"sos")?).map(SubService::of_labels).map(Self::Sos),
        }
    }

    /// Whether it is a test call, which must never reach a PSAP.
    pub const fn is_test(self) -> bool {
        matches!(self, Self::Test)
    }

    /// The service URN, in lower case.
    pub const fn urn(self) -> &'static str {
        match self {
            Self::Test => "urn:service:test.sos",
            Self::Sos(SubService::General) => "urn:service:sos",
            Self::Sos(SubService::AnimalControl) => "urn:service:sos.animal-control",
            Self::Sos(SubService::Ambulance) => "urn:service:sos.ambulance",
            Self::Sos(SubService::Fire) => "urn:service:sos.fire",
            Self::Sos(SubService::Gas) => "urn:service:sos.gas",
            Self::Sos(SubService::Marine) => "urn:service:sos.marine",
            Self::Sos(SubService::Mountain) => "urn:service:sos.mountain",
            Self::Sos(SubService::Physician) => "urn:service:sos.physician",
            Self::Sos(SubService::Poison) => "urn:service:sos.poison",
            Self::Sos(SubService::Police) => "urn:service:sos.police",
        }
    }
}

impl SubService {
    const ALL: [Self; 9] = [
        Self::AnimalControl,
        Self::Ambulance,
        Self::Fire,
        Self::Gas,
        Self::Marine,
        Self::Mountain,
        Self::Physician,
        Self::Poison,
        Self::Police,
    ];

    /// Labels below one that we know narrow it and are ignored: `fire.forest` is `fire` (RFC 5031).
    fn of_labels(labels: &[u8]) -> Self {
        let first = labels.split(|&b| b == b'.').next().unwrap_or_default();
        let named = |sub: &Self| {
            Service::Sos(*sub).urn().rsplit('.').next().is_some_and(|name| first.eq_ignore_ascii_case(name.as_bytes()))
        };
        Self::ALL.into_iter().find(named).unwrap_or(Self::General)
    }
}

/// What follows the dot, or nothing; `None` if the word before goes on (`sosx`).
fn labels_only(text: &[u8]) -> Option<&[u8]> {
    match text {
        [] => Some(text),
        [b'.', labels @ ..] => Some(labels),
        _ => None,
    }
}

fn strip_prefix_of_any_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::{Service, SubService};

    fn of(urn: &str) -> Option<Service> {
        Service::of_urn(urn.as_bytes())
    }

    #[test]
    fn r2_every_sub_service_is_read_in_any_case_and_written_in_lower_case() {
        let all = SubService::ALL.map(|sub| (Service::Sos(sub).urn(), Service::Sos(sub)));
        let named = ["fire", "police", "ambulance", "marine", "mountain", "poison", "physician", "gas", "animal-control"];
        assert_eq!(
            all.map(|(urn, _)| urn).into_iter().filter(|urn| named.contains(&urn.trim_start_matches("urn:service:sos."))).count(),
            9
        );
        for (urn, service) in all
            .into_iter()
            .chain([("urn:service:sos", Service::Sos(SubService::General)), ("urn:service:test.sos", Service::Test)])
        {
            let text = urn.strip_prefix("urn:").unwrap();
            let misspelt = text.replace("service:", "services:");
            for form in
                [text, &text.to_uppercase(), &misspelt, &misspelt.to_uppercase(), &format!("{text}?=x"), &format!("{text}#x")]
            {
                assert_eq!(of(form), Some(service), "{form}");
                assert_eq!(service.urn(), urn);
            }
        }
        assert_eq!(of("service:sos.fire.forest"), Some(Service::Sos(SubService::Fire)));
        assert_eq!(of("service:test.sos.fire"), Some(Service::Test));
    }

    #[test]
    #[rustfmt::skip]
    fn r2_an_unknown_sub_service_is_sos_and_any_other_service_is_ordinary() {
        for sos in [
            "service:sos.", "service:sos.ecall.automatic", "service:sos.fires", "service:sos.fir", "service:sos..fire", "service:sos.sos", "service:sos.general", "service:sos.\u{e9}", "service:sos.test",
        ] {
            assert_eq!(of(sos), Some(Service::Sos(SubService::General)), "{sos}");
        }
        for ordinary in [
            "", ":", "service", "service:", "sos", "service:so", "service:sosx", "service:sos-fire", "service:sos:fire", "service:sos@h", "servicess:sos", "serve:sos", "services", "servicesos",
            "service:counseling.suicide", "service:fire", "service:fire.sos", "service:x.sos", "service:test", "service:test.", "service:test.counseling", "service:test.sosx", "service:testsos", "service:test:sos",
            "service:911", "911", "nena:service:sos", "emergency:service:sos", "urn:service:sos", "alert:priority:high", "service :sos", " service:sos", "service: sos", "service::sos", ":service:sos", "service?:sos",
            "service:.sos", "xservice:sos",
        ] {
            assert_eq!(of(ordinary), None, "{ordinary}");
        }
    }
}
