//! Futures that thousands of requests have one of each.

use futures_util::future::BoxFuture;

/// Boxes a future in its place. `Box::pin` makes it on the stack and copies all of it, with the room for what it will hold
/// one day: for a whole request's future, every ninth write that misses the cache.
pub(crate) fn boxed<'a, F: Future<Output: Send> + Send + 'a>(make: impl FnOnce() -> F) -> BoxFuture<'a, F::Output> {
    let boxed: Box<F> = Box::write(Box::new_uninit(), make());
    Box::into_pin(boxed)
}
