//! Service, and Endpoints.

use crate::hooks::fill::Fill;
use api_core::names;
use api_schema::row::Hooks;

mod allocate;
mod endpoints;
mod validate;
mod warnings;

pub(super) static SERVICE: Hooks = Hooks {
    default: Some(super::defaults::service),
    prepare_create: Some(|_, service| service.with("spec", allocate::drop_disabled)),
    prepare_update: Some(allocate::prepare_update),
    validate: Some(validate::service),
    validate_update: Some(validate::update),
    validate_name: Some(names::name_is_dns1035_label),
    warnings: Some(warnings::service),
    allocate: Some(allocate::allocate),
    allocated: Some(allocate::allocated),
    create_on_update: true,
    ..Hooks::NONE
};

pub(super) static ENDPOINTS: Hooks = Hooks {
    default: Some(super::defaults::endpoints),
    validate: Some(endpoints::validate),
    validate_update: Some(endpoints::update),
    create_on_update: true,
    ..Hooks::NONE
};
