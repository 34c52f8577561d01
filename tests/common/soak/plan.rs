//! What becomes of the n-th call: fixed by its number, so that caller and callee agree without a word.

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// 911, from behind the PBX.
    Emergency,
    /// To a number that a PSAP was shown, from that number's trunk.
    Callback,
    /// To somewhere else, from behind the PBX.
    Ordinary,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Emergency, Self::Callback, Self::Ordinary];
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered; the caller hangs up.
    Talk,
    /// Answered; the callee hangs up.
    Dropped,
    /// The caller gives up while it rings.
    Cancelled,
    /// Refused: an emergency by its first trunk (the second takes it), a callback by the phone (the desk takes it), an ordinary
    /// call for good.
    Refused,
    /// An emergency that both trunks refuse in the first round, and take in the second.
    SecondRound,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is.
    pub kind: Kind,
    /// How it goes.
    pub fate: Fate,
    /// How long it rings, in us.
    pub rings: u64,
    /// How long both talk, in us.
    pub talks: u64,
    /// An ordinary call whose audio goes through the gateway.
    pub anchored: bool,
}

/// Of ten calls, this many are emergencies, and so many callbacks.
const EMERGENCIES: u32 = 4;
const CALLBACKS: u32 = 2;

impl Plan {
    /// Of call `n`.
    pub fn of(n: u32) -> Self {
        let mut dice = Dice(u64::from(n));
        let kind = match n % 10 {
            0..EMERGENCIES => Kind::Emergency,
            n if n < EMERGENCIES + CALLBACKS => Kind::Callback,
            _ => Kind::Ordinary,
        };
        Self::with(kind, &mut dice)
    }

    /// The same call as an ordinary one, where nobody can be called back.
    pub fn ordinary(n: u32) -> Self {
        Self::with(Kind::Ordinary, &mut Dice(u64::from(n)))
    }

    fn with(kind: Kind, dice: &mut Dice) -> Self {
        let fate = match (dice.below(100), kind) {
            (0..10, _) => Fate::Dropped,
            (10..18, _) => Fate::Cancelled,
            (18..26, Kind::Emergency | Kind::Ordinary) | (18..20, Kind::Callback) => Fate::Refused,
            (26, Kind::Emergency) => Fate::SecondRound,
            _ => Fate::Talk,
        };
        let rings = 10_000 + dice.below(if fate == Fate::Cancelled { 200_000 } else { 120_000 });
        // Most are short; one in a hundred lasts.
        let talks = if dice.below(100) == 0 { 5_000_000 } else { 20_000 } + dice.below(1_000_000);
        Self { kind, fate, rings, talks, anchored: kind == Kind::Ordinary && dice.below(8) == 0 }
    }
}

/// splitmix64 (Vigna, public domain).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}
