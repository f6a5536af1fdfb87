#![no_main]

mainstay_fuzz::target!("machine_files");
