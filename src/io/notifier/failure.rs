//! Why something was not delivered.

/// Why a letter was not taken. Has no room for what the server said, which may name the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or no greeting.
    #[error("no connection")]
    Unreachable,
    /// TLS was required and did not come about.
    #[error("no TLS")]
    NoTls,
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
    /// The connection ended, or what came was no SMTP.
    #[error("connection lost")]
    Lost,
    /// A reply that takes nothing: from 300 to 599.
    #[error("refused with {0}")]
    Refused(u16),
    /// The server lacks what this letter needs: SMTPUTF8 for its address (RFC 6531), or a way to log in.
    #[error("the server lacks an extension")]
    Incapable,
    /// No server is configured any more.
    #[error("no server is configured")]
    NoServer,
    /// The attempt itself broke.
    #[error("internal error")]
    Internal,
}
