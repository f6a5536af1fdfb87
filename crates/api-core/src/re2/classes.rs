//! Classes of characters that Go knows by name: the categories and scripts of Unicode 15, written just so.

use std::collections::HashSet;
use std::sync::LazyLock;

/// General categories.
const CATEGORIES: &str =
    "C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";

/// Scripts.
const SCRIPTS: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki \
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan \
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited \
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
    Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani \
    Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari \
    New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian \
    Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong \
    Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian \
    Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le \
    Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai \
    Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// All names, and the one of the class of everything.
static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let known = CATEGORIES.split_whitespace().chain(SCRIPTS.split_whitespace());
    known.chain(["Any"]).collect()
});

/// The class of that name, or what is not in it, as the `regex` crate takes it; `None` if Go knows no such class.
pub(super) fn unicode(name: &str, negated: bool) -> Option<String> {
    if !NAMES.contains(name) {
        return None;
    }
    Some(match (name, negated) {
        // To Go what is not assigned is of no category.
        ("C", false) => "[\\p{Cc}\\p{Cf}\\p{Co}]".to_owned(),
        ("C", true) => "[^\\p{Cc}\\p{Cf}\\p{Co}]".to_owned(),
        // Halves of surrogate pairs are in no text.
        ("Cs", false) => "[^\\x00-\\x{10FFFF}]".to_owned(),
        ("Cs", true) => "[\\x00-\\x{10FFFF}]".to_owned(),
        (name, false) => format!("\\p{{{name}}}"),
        (name, true) => format!("\\P{{{name}}}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn every_class_is_one_of_the_crate() {
        for name in NAMES.iter() {
            for (name, negated) in [(name, false), (name, true)] {
                let class = unicode(name, negated).unwrap_or_else(|| panic!("{name}"));
                assert!(Regex::new(&class).is_ok(), "{class}");
            }
        }
        assert_eq!(NAMES.len(), 37 + 163);
        assert_eq!(
            [unicode("greek", false), unicode("Lowercase_Letter", false), unicode("gc=L", true)],
            [None, None, None]
        );
    }
}
