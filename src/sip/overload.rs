//! Overload control between neighbours (RFC 7339): what is said of it in Via, and which requests are spared a neighbour.
//!
//! Nothing here looks at a processor or a queue: whoever does sets our [`Load`]. Which requests may be spared is not decided here
//! either; emergencies, callbacks and whatever belongs to a call never are (RFC 7339 section 5.10.1). Read [`Load`] for what we
//! tell others first, then [`Neighbours`] for what they tell us. The scheme is `loss`, which everybody has to know (section 6).

use super::flow::Flow;
use super::header::Via;
use super::write::Writer;
use crate::words::Time;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a request's Via says where its sender obeys (RFC 7339 section 4.1).
pub(super) const OFFER: &[u8] = b";oc;oc-algo=\"loss\"";
/// How long what we say counts, in milliseconds: some times as long as it takes us to say something new.
const OURS_COUNTS: u64 = 1000;
/// How long a neighbour's word counts where it does not say (RFC 7339 section 4.3).
const THEIRS_COUNTS: Duration = Duration::from_millis(500);
/// And the most: a neighbour must not be able to silence us for days.
const LONGEST: Duration = Duration::from_secs(60);

/// How many of their new calls our neighbours are to keep to themselves. All threads read it, one sets it.
#[derive(Debug, Default)]
pub struct Load(AtomicU64);

impl Load {
    /// So many of a hundred. `wall`: since the epoch; what is said later says so (`oc-seq`), over restarts too.
    pub fn set(&self, percent: u8, wall: Duration) {
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX >> 8);
        self.0.store(millis << 8 | u64::from(percent.min(100)), Ordering::Relaxed);
    }

    /// What was set last, of a hundred.
    pub fn percent(&self) -> u8 {
        self.0.load(Ordering::Relaxed) as u8
    }

    /// Says it behind the topmost Via of a response (RFC 7339 section 5.2). Without overload, that there is none.
    pub(super) fn say(&self, via: &mut Writer) {
        let packed = self.0.load(Ordering::Relaxed);
        let (percent, millis) = (packed & 0xff, packed >> 8);
        let counts = if percent == 0 { 0 } else { OURS_COUNTS };
        let (seconds, rest) = (millis / 1000, millis % 1000);
        via.raw_fmt(format_args!(";oc={percent};oc-algo=\"loss\";oc-validity={counts};oc-seq={seconds}.{rest:03}"));
    }
}

/// Whether the sender of a request with this Via obeys what we say: it has `oc`, and knows `loss`.
pub(super) fn is_offered(via: &Via<'_>) -> bool {
    via.param("oc").is_some() && via.param("oc-algo").is_none_or(knows_loss)
}

/// Whether a parameter of a Via is one of overload control's: what came in a request does not go back.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"oc"))
        && [&b"oc"[..], b"oc-algo", b"oc-validity", b"oc-seq"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn knows_loss(algorithms: &[u8]) -> bool {
    algorithms.split(|c| *c == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"loss"))
}

/// The neighbours that we obey, and what each has said last.
#[derive(Default)]
pub(super) struct Neighbours(Vec<(SocketAddr, Wish)>);

impl Neighbours {
    /// Those to obey from now on; what they have said still counts.
    pub(super) fn are(&mut self, all: &[SocketAddr]) {
        self.0.retain(|(at, _)| all.contains(at));
        for at in all {
            if !self.0.iter().any(|(known, _)| known == at) {
                self.0.push((*at, Wish::default()));
            }
        }
    }

    /// What our Via says to whoever is there.
    pub(super) fn offer(&self, flow: Flow) -> &'static [u8] {
        if self.0.iter().any(|(at, _)| *at == flow.remote) { OFFER } else { b"" }
    }

    /// A response's topmost Via came back, to a request that went this way.
    pub(super) fn hear(&mut self, flow: Flow, via: &Via<'_>, now: Time) {
        if let Some((_, wish)) = self.0.iter_mut().find(|(at, _)| *at == flow.remote)
            && let Some(said) = Said::read(via)
        {
            wish.hear(said, now);
        }
    }

    /// Whether the next request that may be spared is to be kept from whoever is there. Counts it.
    pub(super) fn spares(&mut self, flow: Flow, now: Time) -> bool {
        self.0.iter_mut().find(|(at, _)| *at == flow.remote).is_some_and(|(_, wish)| wish.spares(now))
    }
}

/// What one neighbour wants.
#[derive(Debug, Default)]
struct Wish {
    percent: u8,
    until: Time,
    /// `oc-seq` of the last word, in hundred-thousandths.
    sequence: u64,
    /// Hundredths of a request that are owed to it: they are spread evenly (RFC 7339 section 6.2 leaves open how).
    owed: u8,
}

impl Wish {
    fn hear(&mut self, said: Said, now: Time) {
        // RFC 7339 section 4.4: older than the last, so overtaken. A neighbour that was started anew may count anew, once
        // its last word has run out.
        if said.sequence <= self.sequence && now < self.until {
            return;
        }
        (self.percent, self.until, self.sequence) = (said.percent, now + said.counts, said.sequence);
    }

    fn spares(&mut self, now: Time) -> bool {
        if now >= self.until || self.percent == 0 {
            self.owed = 0;
            return false;
        }
        self.owed += self.percent;
        let spares = self.owed >= 100;
        self.owed %= 100;
        spares
    }
}

/// One response's word.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    percent: u8,
    counts: Duration,
    sequence: u64,
}

impl Said {
    /// `None` where nothing is said, or nothing that can be understood.
    fn read(via: &Via<'_>) -> Option<Self> {
        let percent = number(via.param("oc")?, 3).filter(|p| *p <= 100)?;
        via.param("oc-algo").is_none_or(knows_loss).then_some(())?;
        let counts = match via.param("oc-validity") {
            Some(millis) => Duration::from_millis(number(millis, 12)?),
            None => THEIRS_COUNTS,
        };
        let sequence = via.param("oc-seq").map_or(Some(0), sequence)?;
        Some(Self { percent: u8::try_from(percent).ok()?, counts: counts.min(LONGEST), sequence })
    }
}

/// `1*12DIGIT "." 1*5DIGIT` (RFC 7339 section 8).
fn sequence(text: &[u8]) -> Option<u64> {
    let dot = memchr::memchr(b'.', text)?;
    let (whole, part) = (text.get(..dot)?, text.get(dot + 1..)?);
    let scale = 10u64.pow(u32::try_from(5usize.checked_sub(part.len())?).ok()?);
    Some(number(whole, 12)? * 100_000 + number(part, 5)? * scale)
}

/// A decimal of so many digits at most.
fn number(text: &[u8], most: usize) -> Option<u64> {
    let fits = (1..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    const NOW: Time = Time::from_micros(1_000_000_000);

    fn flow(port: u16) -> Flow {
        Flow { transport: Transport::Udp, listener: 0, remote: ([127, 0, 0, 1], port).into(), connection: 0, name: 0 }
    }

    fn said(params: &str) -> Option<Said> {
        let via = format!("SIP/2.0/UDP h;branch=z9hG4bKx{params}");
        Said::read(&Via::parse(via.as_bytes()).expect("a Via"))
    }

    fn hear(neighbours: &mut Neighbours, params: &str, now: Time) {
        let via = format!("SIP/2.0/UDP h;branch=z9hG4bKx{params}");
        neighbours.hear(flow(5070), &Via::parse(via.as_bytes()).expect("a Via"), now);
    }

    fn spared(neighbours: &mut Neighbours, of: usize, now: Time) -> usize {
        (0..of).filter(|_| neighbours.spares(flow(5070), now)).count()
    }

    fn obeyed() -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.are(&[flow(5070).remote]);
        neighbours
    }

    #[test]
    fn what_a_response_says_is_read_and_what_makes_no_sense_says_nothing() {
        let counts = |millis| Duration::from_millis(millis);
        for (params, want) in [
            (";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782", Some((20, 500, 128_232_161_578_200))),
            (";OC=100;oc-seq=1.00001", Some((100, 500, 100_001))),
            (";oc=0;oc-validity=0", Some((0, 0, 0))),
            (";oc=20;oc-algo=\"rate, LOSS\"", Some((20, 500, 0))),
            (";oc=20;oc-validity=999999999999", Some((20, 60_000, 0))),
            (";oc=20;oc-algo=\"rate\"", None),
            (";oc=101", None),
            (";oc=-1", None),
            (";oc=2.5", None),
            (";oc=0020", None),
            (";oc", None),
            ("", None),
            (";oc=20;oc-validity=x", None),
            (";oc=20;oc-seq=1", None),
            (";oc=20;oc-seq=1.", None),
            (";oc=20;oc-seq=1.123456", None),
            (";oc=20;oc-seq=1234567890123.1", None),
        ] {
            let want = want.map(|(percent, millis, sequence)| Said { percent, counts: counts(millis), sequence });
            assert_eq!(said(params), want, "{params}");
        }
    }

    #[test]
    fn so_many_of_a_hundred_are_spared_evenly_until_the_word_runs_out() {
        for percent in [0, 1, 10, 33, 50, 99, 100] {
            let mut neighbours = obeyed();
            hear(&mut neighbours, &format!(";oc={percent};oc-validity=1000;oc-seq=1.0"), NOW);
            assert_eq!(spared(&mut neighbours, 1000, NOW), percent * 10, "{percent}");
            assert_eq!(spared(&mut neighbours, 100, NOW + Duration::from_secs(1)), 0, "{percent}");
        }
    }

    #[test]
    fn an_overtaken_word_counts_for_nothing_and_zero_validity_ends_it() {
        let mut neighbours = obeyed();
        hear(&mut neighbours, ";oc=50;oc-validity=10000;oc-seq=5.0", NOW);
        hear(&mut neighbours, ";oc=0;oc-validity=0;oc-seq=4.99999", NOW);
        assert_eq!(spared(&mut neighbours, 100, NOW), 50);
        hear(&mut neighbours, ";oc=0;oc-validity=0;oc-seq=5.1", NOW);
        assert_eq!(spared(&mut neighbours, 100, NOW), 0);
        hear(&mut neighbours, ";oc=50;oc-validity=10000;oc-seq=1.0", NOW);
        assert_eq!(spared(&mut neighbours, 100, NOW), 50, "a neighbour that was started anew");
    }

    #[test]
    fn who_is_not_to_be_obeyed_is_not_asked_and_not_heard() {
        let mut neighbours = Neighbours::default();
        hear(&mut neighbours, ";oc=100;oc-validity=10000;oc-seq=5.0", NOW);
        assert_eq!((spared(&mut neighbours, 100, NOW), neighbours.offer(flow(5070))), (0, &b""[..]));
        neighbours.are(&[flow(5070).remote]);
        assert_eq!((neighbours.offer(flow(5070)), neighbours.offer(flow(5071))), (OFFER, &b""[..]));
        hear(&mut neighbours, ";oc=100;oc-validity=10000;oc-seq=5.0", NOW);
        neighbours.are(&[flow(5070).remote, flow(5071).remote]);
        assert_eq!(spared(&mut neighbours, 10, NOW), 10, "what it has said still counts");
        neighbours.are(&[]);
        assert_eq!(spared(&mut neighbours, 10, NOW), 0);
    }

    #[test]
    fn what_we_say_can_be_read_back() {
        let (load, mut via) = (Load::default(), Writer::fields());
        load.say(&mut via);
        assert_eq!(via.into_fields(), ";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=0.000");
        load.set(37, Duration::from_millis(1_763_840_491_042));
        let mut via = Writer::fields();
        load.say(&mut via);
        let text = String::from_utf8_lossy(&via.into_fields()).into_owned();
        assert_eq!(text, ";oc=37;oc-algo=\"loss\";oc-validity=1000;oc-seq=1763840491.042");
        assert_eq!((said(&text).map(|s| s.percent), load.percent()), (Some(37), 37));
    }
}
