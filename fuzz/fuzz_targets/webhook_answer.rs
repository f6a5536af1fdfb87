#![no_main]

mainstay_fuzz::target!("webhook_answer");
