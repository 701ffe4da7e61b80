//! The steps of a writer: announce, read the head, read the rest, store, commit.

use crate::{
    scope::{Flaw, Scope},
    search::Steps,
    state::{Commit, PACKS, Phase, State, Writer, WriterAt, has, members, only},
    step::{Actor, Step, What},
};

/// What a writer reads or writes first, second and third.
const ANNOUNCE: u8 = 0;
const READ_HEAD: u8 = 1;
const READ_INDEX: u8 = 2;

/// The pack that an interrupted run may have left.
const ADOPTABLE: usize = 1;

/// One writer in one state.
struct Turn<'a> {
    state: &'a State,
    scope: &'a Scope,
    number: usize,
    slot: usize,
}

/// Adds what the writer `number` can do.
pub(crate) fn steps(state: &State, scope: &Scope, number: usize, out: &mut Steps) {
    let turn = Turn { state, scope, number, slot: number + 1 };
    match state.writers[number].at {
        WriterAt::Begin(done) => turn.begin(done, out),
        WriterAt::Choose => turn.choose(out),
        WriterAt::PutRows => turn.put_rows(out),
        WriterAt::Commit => turn.commit(out),
        WriterAt::PutLate => turn.put_late(out),
        WriterAt::Done => {}
    }
    turn.withdraw(out);
}

impl Turn<'_> {
    fn writer(&self) -> &Writer {
        &self.state.writers[self.number]
    }

    fn step(&self, deed: &'static str, what: What) -> Step {
        Step::new(Actor::Writer(self.slot), deed, what)
    }

    /// The state after this writer has become `writer`.
    fn after(&self, writer: Writer) -> State {
        let mut after = *self.state;
        after.writers[self.number] = writer;
        after
    }

    fn begin(&self, done: u8, out: &mut Steps) {
        let order = match self.scope.flaw {
            Some(Flaw::IndexBeforeSession) => [READ_INDEX, ANNOUNCE, READ_HEAD],
            Some(Flaw::IndexBeforeHead) => [ANNOUNCE, READ_INDEX, READ_HEAD],
            _ => [ANNOUNCE, READ_HEAD, READ_INDEX],
        };
        let mut writer = *self.writer();
        let is_last = usize::from(done) + 1 == order.len();
        writer.at = if is_last { WriterAt::Choose } else { WriterAt::Begin(done + 1) };
        let part = order[usize::from(done)];
        match part {
            READ_HEAD => self.read_head(&mut writer),
            READ_INDEX => self.read_index(&mut writer),
            _ => {}
        }
        if is_last && !self.can_adopt() {
            (writer.condemned, writer.gone) = (0, 0);
        }
        let mut after = self.after(writer);
        let head = writer.condemned | writer.gone;
        let step = match part {
            READ_HEAD => self.step("reads the head, which excludes", What::Packs(head)),
            READ_INDEX => self.step("reads the index and may use", What::Packs(writer.usable)),
            _ => self.step("announces its session", What::Nothing),
        };
        let has_sessions = !matches!(self.scope.flaw, Some(Flaw::NoSessions | Flaw::GracePeriod));
        if part == ANNOUNCE && has_sessions {
            after.announced |= only(self.slot);
        }
        out.add(step, after);
    }

    fn read_head(&self, writer: &mut Writer) {
        writer.condemned = match self.state.phase {
            Phase::Idle => 0,
            Phase::Condemned | Phase::Dead => self.state.condemned,
        };
        writer.gone = self.state.gone;
        writer.usable &= !(writer.condemned | writer.gone);
    }

    /// Packs whose chunks deduplicate, and packs that pages of a live snapshot refer to. References
    /// in such pages stay as they are, so that the pack may be one that was rewritten.
    fn read_index(&self, writer: &mut Writer) {
        let state = self.state;
        let wanted = State::wanted(self.slot, self.scope);
        let excluded = writer.condemned | writer.gone;
        let is_flawed = self.scope.has(Flaw::RowsWithoutCommit);
        let rows = if is_flawed { state.rows | state.loose_rows } else { state.rows };
        writer.usable = (0..PACKS)
            .filter(|pack| has(rows & !excluded, *pack))
            .filter(|pack| state.content(*pack, self.scope) & wanted != 0)
            .fold(0, |set, pack| set | only(pack));
        for snapshot in state.snapshots() {
            let pack = usize::from(state.references[snapshot]);
            let may_reuse = self.scope.has(Flaw::ReusesCondemnedPages)
                || !has(writer.condemned, pack) && !has(excluded, state.resolve(pack));
            if State::wanted(snapshot, self.scope) == wanted && may_reuse {
                writer.usable |= only(pack);
            }
        }
        if state.commits[ADOPTABLE] == Commit::Made {
            // it was not interrupted: its index rows say what may be used
            writer.gone |= only(ADOPTABLE);
        }
    }

    /// True if this writer is a later run of the client of the first.
    fn can_adopt(&self) -> bool {
        self.scope.adoption && self.number == 1
    }

    fn choose(&self, out: &mut Steps) {
        let writer = self.writer();
        for pack in members(writer.usable) {
            let step = self.step("refers to", What::Pack(pack));
            out.add(step, self.after(Self::referring(pack, false)));
        }
        if self.can_adopt() && has(self.state.stored, ADOPTABLE) {
            let excluded = match self.scope.flaw {
                Some(Flaw::AdoptsCondemned) => 0,
                Some(Flaw::AdoptsGone) => writer.condemned,
                _ => writer.condemned | writer.gone,
            };
            if !has(excluded, ADOPTABLE) {
                let step = self.step("adopts", What::Pack(ADOPTABLE));
                out.add(step, self.after(Self::referring(ADOPTABLE, true)));
            }
        }
        if writer.usable == 0 {
            self.put_pack(out);
        }
    }

    /// A writer that has chosen and goes on to commit.
    fn referring(pack: usize, has_rows: bool) -> Writer {
        Writer { at: WriterAt::Commit, pack: pack as u8, has_rows, ..Writer::default() }
    }

    fn put_pack(&self, out: &mut Steps) {
        let own = if self.scope.has(Flaw::ContentNames) { 0 } else { self.slot };
        let mut writer = Self::referring(own, true);
        if self.scope.has(Flaw::CommitBeforePack) {
            out.add(self.step("names", What::Pack(own)), self.after(writer));
            return;
        }
        if self.scope.has(Flaw::RowsWithoutCommit) {
            writer.at = WriterAt::PutRows;
        }
        let mut after = self.after(writer);
        after.stored |= only(own);
        out.add(self.step("puts", What::Pack(own)), after);
        if self.scope.late_puts {
            after.late_puts |= only(own);
            let deed = "puts (and the request is still under way once more)";
            out.add(self.step(deed, What::Pack(own)), after);
        }
    }

    fn put_rows(&self, out: &mut Steps) {
        let writer = *self.writer();
        let mut after = self.after(Writer { at: WriterAt::Commit, ..writer });
        after.loose_rows |= only(writer.pack.into());
        out.add(self.step("puts index rows of", What::Pack(writer.pack.into())), after);
    }

    fn commit(&self, out: &mut Steps) {
        let writer = *self.writer();
        let slot = self.slot;
        let what = What::Pack(writer.pack.into());
        match self.state.commits[slot] {
            Commit::Aborted => {
                out.add(self.step("is refused: fenced", What::Nothing), self.after(Writer::done()));
            }
            Commit::Made => {
                let mut after = self.after(self.committed());
                after.acknowledged |= only(slot);
                out.add(self.step("finds its own commit", What::Nothing), after);
            }
            Commit::None => {
                let mut after = self.after(self.committed());
                after.commits[slot] = Commit::Made;
                after.references[slot] = writer.pack;
                // whoever still waits for this session looks for the commit only
                after.announced &= !only(slot);
                let is_loose = has(self.state.loose_rows, writer.pack.into());
                if writer.has_rows || is_loose {
                    after.rows |= only(writer.pack.into());
                }
                let mut lost = after;
                lost.writers[self.number] = Writer { is_sent: true, ..writer };
                after.acknowledged |= only(slot);
                out.add(self.step("commits, referring to", what), after);
                if !writer.is_sent {
                    out.add(self.step("commits, the answer is lost, referring to", what), lost);
                }
            }
        }
    }

    fn committed(&self) -> Writer {
        let writer = *self.writer();
        match self.scope.has(Flaw::CommitBeforePack) && writer.has_rows {
            true => Writer { at: WriterAt::PutLate, ..writer },
            false => Writer::done(),
        }
    }

    fn put_late(&self, out: &mut Steps) {
        let mut after = self.after(Writer::done());
        after.stored |= only(self.writer().pack.into());
        out.add(self.step("puts", What::Pack(self.writer().pack.into())), after);
    }

    /// Ends without ever having sent a commit; what was announced is taken back.
    fn withdraw(&self, out: &mut Steps) {
        let writer = self.writer();
        let is_sending = writer.at == WriterAt::Commit && has(self.state.announced, self.slot);
        if self.scope.has(Flaw::WithdrawsWhileSending) && is_sending {
            let mut after = *self.state;
            after.announced &= !only(self.slot);
            let deed = "takes its announcement back while its commit is under way";
            out.add(self.step(deed, What::Nothing), after);
        }
        let can = self.scope.withdrawals && has(self.state.announced, self.slot);
        if !can || writer.is_sent || writer.at == WriterAt::Done {
            return;
        }
        let mut after = self.after(Writer::done());
        after.announced &= !only(self.slot);
        out.add(self.step("gives up and takes its announcement back", What::Nothing), after);
    }
}
