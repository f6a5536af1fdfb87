#![no_main]

mainstay_fuzz::target!("protobuf_object");
