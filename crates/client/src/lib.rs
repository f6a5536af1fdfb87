//! A kube::Client over an in-process service or a kubeconfig; shared informers.
