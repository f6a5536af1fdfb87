//! Carries out claims: takes control of orphans and lets strays go.

use std::sync::Arc;

use controller_kit::owner::{Claims, adoption_patch, controller_ref, release_patch};
use controller_kit::{Error, Key, Object, Writer};

/// Adopts into and releases from the objects that `owner` controls; what was adopted joins `claims.owned`.
///
/// Before adopting, the owner is read past the cache: one that is being deleted must not gain children. An object
/// that changed meanwhile is left for the next round. `finalizer` is set and taken along with control. `wrote` is
/// told of each object written.
pub async fn carry_out<O: Object, C: Object>(
    writer: &Writer,
    owner: &O,
    claims: &mut Claims<C>,
    finalizer: Option<&str>,
    wrote: impl Fn(&C),
) -> Result<(), Error> {
    let uid = owner.meta().uid.clone().unwrap_or_default();
    if !claims.adopt.is_empty() {
        let fresh: Option<O> = writer.read(&Key::of(owner)).await?;
        let fit = |fresh: &O| fresh.meta().uid.as_ref() == Some(&uid) && fresh.meta().deletion_timestamp.is_none();
        if !fresh.is_some_and(|fresh| fit(&fresh)) {
            claims.adopt.clear();
        }
    }
    for orphan in std::mem::take(&mut claims.adopt) {
        let patch = adoption_patch(&*orphan, controller_ref(owner), finalizer);
        match writer.patch::<C>(&Key::of(&*orphan), &patch).await {
            Ok(adopted) => {
                wrote(&adopted);
                claims.owned.push(Arc::new(adopted));
            }
            Err(error) if lost(&error) => {}
            Err(error) => return Err(error),
        }
    }
    for stray in std::mem::take(&mut claims.release) {
        let patch = release_patch(&*stray, &uid, finalizer);
        match writer.patch::<C>(&Key::of(&*stray), &patch).await {
            Ok(released) => wrote(&released),
            Err(error) if lost(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The object is gone, has become another (422 on its uid), or is newer than we know.
fn lost(error: &Error) -> bool {
    error.is_not_found() || error.is_conflict() || error.code() == Some(422)
}
