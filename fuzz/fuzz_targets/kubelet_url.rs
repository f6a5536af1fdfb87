#![no_main]

mainstay_fuzz::target!("kubelet_url");
