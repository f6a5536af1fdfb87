//! Tokens of service accounts that live in secrets, from the secret to the user that they stand for.

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::DeleteParams;
use serde_json::json;

use crate::world::World;

fn token(secret: Option<&Secret>) -> Option<String> {
    let token = &secret?.data.as_ref()?.get("token")?.0;
    String::from_utf8(token.clone()).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_secret_lives_with_its_account() {
    let world = World::start(0).await;
    let account = world.create::<ServiceAccount>(json!({"metadata": {"name": "bot", "namespace": "default"}})).await;
    let secrets = world.in_default::<Secret>();
    let secret = |name: &str, of: &str| {
        json!({"metadata": {"name": name, "namespace": "default", "annotations": {"kubernetes.io/service-account.name": of}},
            "type": "kubernetes.io/service-account-token"})
    };
    world.create::<Secret>(secret("kept", "bot")).await;
    let filled = world.until(&secrets, "kept", |secret| token(secret).is_some()).await.unwrap();
    let data = filled.data.clone().unwrap();
    assert_eq!((data["ca.crt"].0.as_slice(), data["namespace"].0.as_slice()), (&b"the root"[..], &b"default"[..]));
    assert_eq!(
        filled.metadata.annotations.as_ref().unwrap()["kubernetes.io/service-account.uid"],
        account.metadata.uid.unwrap()
    );
    let review = || json!({"spec": {"token": token(Some(&filled)).unwrap()}});
    let known = world.create::<TokenReview>(review()).await.status.unwrap();
    assert_eq!(
        (known.authenticated, known.user.unwrap().username.as_deref()),
        (Some(true), Some("system:serviceaccount:default:bot"))
    );
    let used = |secret: Option<&Secret>| {
        let labels = secret.and_then(|secret| secret.metadata.labels.clone()).unwrap_or_default();
        labels.get("kubernetes.io/legacy-token-last-used").is_some_and(|day| day.len() == 10)
    };
    world.until(&secrets, "kept", used).await;
    let maps = kube::Api::<ConfigMap>::namespaced(world.admin.clone(), "kube-system");
    let since = |map: Option<&ConfigMap>| {
        map.is_some_and(|map| map.data.as_ref().is_some_and(|data| data["since"].len() == 10))
    };
    world.until(&maps, "kube-apiserver-legacy-service-account-token-tracking", since).await;

    world.create::<Secret>(secret("orphan", "nobody")).await;
    world.until(&secrets, "orphan", |secret| secret.is_none()).await;
    world.in_default::<ServiceAccount>().delete("bot", &DeleteParams::default()).await.map(drop).unwrap();
    world.until(&secrets, "kept", |secret| secret.is_none()).await;
    // Asked for an audience, the server does not answer from memory.
    let mut again = review();
    again["spec"]["audiences"] = json!(["https://kubernetes.default.svc.cluster.local"]);
    let known = world.create::<TokenReview>(again).await.status.unwrap();
    assert_ne!(known.authenticated, Some(true));
    world.stop().await;
}
