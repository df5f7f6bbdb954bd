//! LOOP 0: one exchange. Encode, authorise, send, decode.

pub mod pool;
pub mod provider;
pub mod status;
pub mod transport;
pub mod wire;
