//! Pages of subjects and tenants: by key, never by offset, each order with an index of its own. Columns come from enums
//! and values are bound; nothing of a request becomes SQL.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait as _, DbBackend, EntityTrait as _, Order as Direction, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, Select, Statement,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    Store,
    entity::{secret, subject, subject_label, tenant, tenant_label},
    secret::read as read_secret,
    subject::read as read_subject,
};
use crate::domain::{
    Filter, Order, Position, Result, Secret, Slot, Stage, Subject, SubjectKind, Tenant, Uid,
    filter::{Bound, Comparison, TextField, TextMatch, TimeField, after_prefix},
    listing::OrderBy,
};

/// A page of subjects to be read.
#[derive(Clone, Debug)]
pub struct SubjectListing {
    /// Whose.
    pub tenant_uid: Uid,
    /// Of which kind.
    pub kind: SubjectKind,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// After whom; from the first where `None`.
    pub after: Option<Position>,
    /// How many at most.
    pub limit: u64,
}

/// A page of tenants to be read.
#[derive(Clone, Debug)]
pub struct TenantListing {
    /// This one alone, where it is named.
    pub only: Option<Uid>,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// After which; from the first where `None`.
    pub after: Option<Position>,
    /// How many at most.
    pub limit: u64,
}

impl Store {
    /// A page of subjects.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn list_subjects(&self, listing: &SubjectListing) -> Result<Vec<Subject>> {
        listing.page().all(&self.reader).await?.into_iter().map(read_subject).collect()
    }

    /// How many subjects there are on all pages.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn count_subjects(&self, listing: &SubjectListing) -> Result<i64> {
        let count = listing.all().select_only().column_as(subject::Column::Uid.count(), "count");
        Ok(count.into_tuple().one(&self.reader).await?.unwrap_or_default())
    }

    /// The secrets of these subjects in the slots `password` and `settings` that are not revoked, the newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn live_secrets(&self, subjects: &[Subject]) -> Result<HashMap<Uid, Vec<Secret>>> {
        let mut found = HashMap::<Uid, Vec<Secret>>::new();
        if subjects.is_empty() {
            return Ok(found);
        }
        let rows = secret::Entity::find()
            .filter(secret::Column::SubjectUid.is_in(subjects.iter().map(|subject| subject.uid.as_str())))
            .filter(secret::Column::Slot.is_in([Slot::Password.to_stored(), Slot::Settings.to_stored()]))
            .filter(secret::Column::Stage.ne(Stage::Revoked.as_str()))
            .order_by_desc(secret::Column::Version)
            .all(&self.reader)
            .await?;
        for row in rows {
            let secret = read_secret(row)?;
            found.entry(secret.subject_uid.clone()).or_default().push(secret);
        }
        Ok(found)
    }

    /// A page of tenants.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn list_tenants(&self, listing: &TenantListing) -> Result<Vec<Tenant>> {
        self.tenants(listing.page()).await
    }

    /// How many tenants there are on all pages.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn count_tenants(&self, listing: &TenantListing) -> Result<i64> {
        let count = listing.all().select_only().column_as(tenant::Column::Uid.count(), "count");
        Ok(count.into_tuple().one(&self.reader).await?.unwrap_or_default())
    }

    /// How the database would read a page of subjects, in its own words: to see that an index answers.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn explain_subjects(&self, listing: &SubjectListing) -> Result<String> {
        self.explain(listing.page().build(self.reader.get_database_backend())).await
    }

    /// The same for a page of tenants.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn explain_tenants(&self, listing: &TenantListing) -> Result<String> {
        self.explain(listing.page().build(self.reader.get_database_backend())).await
    }

    pub(super) async fn explain(&self, mut statement: Statement) -> Result<String> {
        let sqlite = statement.db_backend == DbBackend::Sqlite;
        let (explain, column) = if sqlite { ("EXPLAIN QUERY PLAN", 3) } else { ("EXPLAIN", 0) };
        statement.sql = format!("{explain} {}", statement.sql);
        let rows = self.reader.query_all_raw(statement).await?;
        let lines = rows.iter().map(|row| row.try_get_by_index::<String>(column));
        Ok(lines.collect::<std::result::Result<Vec<_>, _>>()?.join("\n"))
    }
}

impl SubjectListing {
    fn all(&self) -> Select<subject::Entity> {
        matching_subjects(&self.tenant_uid, self.kind, &self.filter)
    }

    fn page(&self) -> Select<subject::Entity> {
        let id = subject::Column::ExternalId;
        let by = match self.order.by {
            OrderBy::Id => id,
            OrderBy::Login => subject::Column::Login,
            OrderBy::CreateTime => subject::Column::CreateTime,
            OrderBy::UpdateTime => subject::Column::UpdateTime,
        };
        let mut page = self.all().limit(self.limit);
        if let Some(after) = &self.after {
            page = page.filter(beyond(by, id, after, self.order.descending));
        }
        page = page.order_by(by, direction(self.order));
        // Ids and logins are unique.
        match self.order.by {
            OrderBy::Id | OrderBy::Login => page,
            OrderBy::CreateTime | OrderBy::UpdateTime => page.order_by(id, direction(self.order)),
        }
    }
}

impl TenantListing {
    fn all(&self) -> Select<tenant::Entity> {
        let mut wanted = Condition::all();
        if let Some(only) = &self.only {
            wanted = wanted.add(tenant::Column::Uid.eq(only.as_str()));
        }
        for comparison in &self.filter.0 {
            wanted = wanted.add(match comparison {
                Comparison::State(state) => Condition::all().add(tenant::Column::State.eq(state.as_str())),
                Comparison::Label(name, text) => {
                    let labelled = tenant_label::Entity::find()
                        .select_only()
                        .column(tenant_label::Column::TenantUid)
                        .filter(tenant_label::Column::Name.eq(name.as_str()))
                        .filter(matching(tenant_label::Column::Value, text));
                    Condition::all().add(tenant::Column::Uid.in_subquery(labelled.into_query()))
                }
                Comparison::Time(TimeField::Create, bound, time) => {
                    on_side(tenant::Column::CreateTime, *bound, time.micros())
                }
                Comparison::Time(TimeField::Update, bound, time) => {
                    on_side(tenant::Column::UpdateTime, *bound, time.micros())
                }
                // Tenants sign in with nothing, and what people call them is in their settings alone.
                Comparison::Text(TextField::Login | TextField::DisplayName, _) => Condition::any(),
            });
        }
        tenant::Entity::find().filter(wanted)
    }

    fn page(&self) -> Select<tenant::Entity> {
        let id = tenant::Column::ExternalId;
        let by = match self.order.by {
            OrderBy::Id | OrderBy::Login => id,
            OrderBy::CreateTime => tenant::Column::CreateTime,
            OrderBy::UpdateTime => tenant::Column::UpdateTime,
        };
        let mut page = self.all().limit(self.limit);
        if let Some(after) = &self.after {
            page = page.filter(beyond(by, id, after, self.order.descending));
        }
        page = page.order_by(by, direction(self.order));
        match self.order.by {
            OrderBy::Id | OrderBy::Login => page,
            OrderBy::CreateTime | OrderBy::UpdateTime => page.order_by(id, direction(self.order)),
        }
    }
}

/// A tenant's subjects of one kind that match.
pub(super) fn matching_subjects(tenant_uid: &Uid, kind: SubjectKind, filter: &Filter) -> Select<subject::Entity> {
    let mut wanted = Condition::all()
        .add(subject::Column::TenantUid.eq(tenant_uid.as_str()))
        .add(subject::Column::Kind.eq(kind.as_str()));
    for comparison in &filter.0 {
        wanted = wanted.add(match comparison {
            Comparison::State(state) => Condition::all().add(subject::Column::State.eq(state.as_str())),
            Comparison::Text(TextField::Login, text) => matching(subject::Column::Login, text),
            Comparison::Text(TextField::DisplayName, text) => matching(subject::Column::DisplayName, text),
            Comparison::Label(name, text) => {
                let labelled = subject_label::Entity::find()
                    .select_only()
                    .column(subject_label::Column::SubjectUid)
                    .filter(subject_label::Column::TenantUid.eq(tenant_uid.as_str()))
                    .filter(subject_label::Column::Kind.eq(kind.as_str()))
                    .filter(subject_label::Column::Name.eq(name.as_str()))
                    .filter(matching(subject_label::Column::Value, text));
                Condition::all().add(subject::Column::Uid.in_subquery(labelled.into_query()))
            }
            Comparison::Time(TimeField::Create, bound, time) => {
                on_side(subject::Column::CreateTime, *bound, time.micros())
            }
            Comparison::Time(TimeField::Update, bound, time) => {
                on_side(subject::Column::UpdateTime, *bound, time.micros())
            }
        });
    }
    subject::Entity::find().filter(wanted)
}

fn direction(order: Order) -> Direction {
    if order.descending { Direction::Desc } else { Direction::Asc }
}

/// Past a place in the order: one comparison of rows, which is one range of an index on both engines.
fn beyond<C: ColumnTrait>(by: C, id: C, after: &Position, descending: bool) -> Expr {
    let (place, bound) = match after {
        Position::Text(text) => (Expr::col(by), Expr::value(text.as_str())),
        Position::Time(time, last) => (
            Expr::tuple([Expr::col(by), Expr::col(id)]),
            Expr::tuple([Expr::value(time.micros()), Expr::value(last.as_str())]),
        ),
    };
    if descending { place.lt(bound) } else { place.gt(bound) }
}

/// A prefix is a range in the order of bytes, which both engines keep these columns in.
fn matching<C: ColumnTrait>(column: C, wanted: &TextMatch) -> Condition {
    match wanted {
        TextMatch::Exact(text) => Condition::all().add(column.eq(text.as_str())),
        TextMatch::Prefix(prefix) => {
            let from = Condition::all().add(column.gte(prefix.as_str()));
            match after_prefix(prefix) {
                Some(end) => from.add(column.lt(end)),
                None => from,
            }
        }
    }
}

fn on_side<C: ColumnTrait>(column: C, bound: Bound, micros: i64) -> Condition {
    Condition::all().add(match bound {
        Bound::Before => column.lt(micros),
        Bound::Until => column.lte(micros),
        Bound::After => column.gt(micros),
        Bound::From => column.gte(micros),
    })
}
