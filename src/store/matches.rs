//! Walking through the subjects that match, stretch by stretch, in the order of their uids: nobody is met twice or missed,
//! whatever is added or deleted meanwhile, and no question takes longer the more there are.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    Store,
    entity::{subject, subject_label},
    listing::matching_subjects,
    subject::read,
};
use crate::domain::{
    Filter, Result, Subject, SubjectKind, Uid,
    filter::{Bound, Comparison, TextField, TextMatch, TimeField, after_prefix},
};

/// Subjects that are looked at at once, however few of them match.
const WINDOW: u64 = 1_000;

/// The subjects that a job is about, in the order of their uids.
#[derive(Clone, Debug)]
pub struct Matches {
    /// Whose.
    pub tenant_uid: Uid,
    /// Of which kind.
    pub kind: SubjectKind,
    /// Which of them.
    pub filter: Filter,
}

/// Subjects that match, of a stretch of all.
#[derive(Clone, Debug)]
pub struct Window {
    /// In the order of their uids.
    pub subjects: Vec<Subject>,
    /// The uid of the last one that was looked at; `None` where there is nothing beyond.
    pub end: Option<String>,
}

impl Store {
    /// How many subjects match, and the uid of the last of them; empty where there is none.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn count_matches(&self, matches: &Matches) -> Result<(i64, String)> {
        let Matches { tenant_uid, kind, filter } = matches;
        let found: Option<(i64, Option<String>)> = matching_subjects(tenant_uid, *kind, filter)
            .select_only()
            .column_as(subject::Column::Uid.count(), "count")
            .column_as(subject::Column::Uid.max(), "last")
            .into_tuple()
            .one(&self.reader)
            .await?;
        let (count, last) = found.unwrap_or_default();
        Ok((count, last.unwrap_or_default()))
    }

    /// The next subjects that match, after one uid and up to another, of at most a thousand that are looked at.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn next_matches(&self, matches: &Matches, after: &str, until: &str, limit: u64) -> Result<Window> {
        let columns = [subject::Column::TenantUid, subject::Column::Kind, subject::Column::Uid];
        let between = |to: &str| {
            // Rows are compared whole, so that the index of this order is the one that is walked.
            let row = || Expr::tuple(columns.map(Expr::col));
            let place = |uid| Expr::tuple([matches.tenant_uid.as_str(), matches.kind.as_str(), uid].map(Expr::val));
            let query = subject::Entity::find().filter(row().gt(place(after))).filter(row().lte(place(to)));
            columns.iter().fold(query, |query, column| query.order_by_asc(*column))
        };
        let end = between(until).select_only().column(subject::Column::Uid).offset(WINDOW - 1).limit(1);
        let end: Option<String> = end.into_tuple().one(&self.reader).await?;
        let query = between(end.as_deref().unwrap_or(until)).filter(looked_at(&matches.filter)).limit(limit);
        let subjects = query.all(&self.reader).await?.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Window { subjects, end })
    }
}

/// What a filter says of a row that is looked at. In these forms no index answers it: one that did would have all that
/// match sorted for each window, of which there are thousands.
fn looked_at(filter: &Filter) -> Condition {
    let mut wanted = Condition::all();
    for comparison in &filter.0 {
        wanted = wanted.add(match comparison {
            Comparison::State(state) => Condition::all().add(Expr::cust("state || ''").eq(state.as_str())),
            Comparison::Text(TextField::Login, text) => matching(Expr::cust("login || ''"), text),
            Comparison::Text(TextField::DisplayName, text) => matching(Expr::cust("display_name || ''"), text),
            Comparison::Label(name, text) => {
                let of_subject = Expr::col((subject_label::Entity, subject_label::Column::SubjectUid))
                    .equals((subject::Entity, subject::Column::Uid));
                let value = Expr::col((subject_label::Entity, subject_label::Column::Value));
                let labelled = subject_label::Entity::find()
                    .select_only()
                    .column(subject_label::Column::SubjectUid)
                    .filter(of_subject)
                    .filter(subject_label::Column::Name.eq(name.as_str()))
                    .filter(matching(value, text));
                Condition::all().add(Expr::exists(labelled.into_query()))
            }
            Comparison::Time(field, bound, time) => {
                let column = match field {
                    TimeField::Create => Expr::cust("create_time + 0"),
                    TimeField::Update => Expr::cust("update_time + 0"),
                };
                let micros = time.micros();
                Condition::all().add(match bound {
                    Bound::Before => column.lt(micros),
                    Bound::Until => column.lte(micros),
                    Bound::After => column.gt(micros),
                    Bound::From => column.gte(micros),
                })
            }
        });
    }
    wanted
}

fn matching(text: Expr, wanted: &TextMatch) -> Condition {
    match wanted {
        TextMatch::Exact(exact) => Condition::all().add(text.eq(exact.as_str())),
        TextMatch::Prefix(prefix) => {
            let from = Condition::all().add(text.clone().gte(prefix.as_str()));
            match after_prefix(prefix) {
                Some(end) => from.add(text.lt(end)),
                None => from,
            }
        }
    }
}
