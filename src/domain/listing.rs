//! Pages of lists: in which order, and where the next one begins.
//!
//! A page begins after the last entry of the one before, whatever came and went meanwhile: nothing is skipped and nothing
//! comes twice that was there all the time and kept its place. By id and by creation all keep it. By login, whoever is
//! renamed does not; by last change, whoever is changed moves to the end that is the latest.

use super::Timestamp;

/// By what a list is sorted. Entries that are equal in it are sorted by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderBy {
    /// The public id.
    Id,
    /// What a subject signs in with.
    Login,
    /// When it was made.
    CreateTime,
    /// When it last changed.
    UpdateTime,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// From the last to the first.
    pub descending: bool,
}

impl Order {
    /// The order that a request asks for by one of these names, with ` desc` after it or not (AIP-132); by id where it is
    /// empty.
    #[must_use]
    pub fn parse(text: &str, names: &[(&str, OrderBy)]) -> Option<Self> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let Some(name) = words.next() else { return Some(Self { by: OrderBy::Id, descending: false }) };
        let descending = match (words.next(), words.next()) {
            (None, _) => false,
            (Some("desc"), None) => true,
            (Some(_), _) => return None,
        };
        let (_, by) = names.iter().find(|(known, _)| *known == name)?;
        Some(Self { by: *by, descending })
    }
}

/// An entry's place in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Its id or login.
    Text(String),
    /// Its time, and its id.
    Time(Timestamp, String),
}

impl Position {
    /// As a page token holds it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Time(time, id) => format!("{} {id}", time.micros()),
        }
    }

    /// Back from a page token.
    #[must_use]
    pub fn parse(text: &str, by: OrderBy) -> Option<Self> {
        match by {
            OrderBy::Id | OrderBy::Login => Some(Self::Text(text.to_owned())),
            OrderBy::CreateTime | OrderBy::UpdateTime => {
                let (micros, id) = text.split_once(' ')?;
                Some(Self::Time(Timestamp::from_micros(micros.parse().ok()?), id.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, OrderBy); 2] = [("user_id", OrderBy::Id), ("update_time", OrderBy::UpdateTime)];

    #[test]
    fn an_order_is_one_known_name_with_its_direction() {
        let order = |by, descending| Some(Order { by, descending });
        assert_eq!(Order::parse("", &NAMES), order(OrderBy::Id, false));
        assert_eq!(Order::parse("user_id", &NAMES), order(OrderBy::Id, false));
        assert_eq!(Order::parse("  update_time   desc ", &NAMES), order(OrderBy::UpdateTime, true));
        for bad in
            ["login", "user_id asc", "user_id DESC", "user_id,update_time", "desc", "user_id desc desc", "user_id;"]
        {
            assert_eq!(Order::parse(bad, &NAMES), None, "{bad}");
        }
    }

    #[test]
    fn a_position_comes_back_as_it_went() {
        for (position, by) in [
            (Position::Text("a b".to_owned()), OrderBy::Login),
            (Position::Text(String::new()), OrderBy::Id),
            (Position::Time(Timestamp::from_micros(-7), "x".to_owned()), OrderBy::CreateTime),
        ] {
            assert_eq!(Position::parse(&position.to_text(), by), Some(position));
        }
        assert_eq!(Position::parse("x", OrderBy::UpdateTime), None);
    }
}
