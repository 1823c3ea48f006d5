// Where a rater stands: every question of every page, in order, and how each was answered.

export class Walk {
  constructor(pages) {
    this.steps = pages.flatMap(({ key, answers }) =>
      Object.entries(answers).map(([question, answer], number, all) => ({
        key, question, answer, number: number + 1, of: all.length,
      })),
    );
    this.place = this.firstOpen();
  }

  get total() {
    return this.steps.length;
  }

  get done() {
    return this.steps.filter((step) => step.answer !== null).length;
  }

  // Undefined when all is answered.
  get step() {
    return this.steps[this.place];
  }

  // The key of the page after this one.
  get nextKey() {
    return this.steps.slice(this.place).find((step) => step.key !== this.step.key)?.key;
  }

  firstOpen() {
    const open = this.steps.findIndex((step) => step.answer === null);
    return open < 0 ? this.total : open;
  }

  answer(answer) {
    this.step.answer = answer;
    this.place = this.firstOpen();
  }

  get canUndo() {
    return this.place > 0;
  }

  // One back; that answer counts until another is given.
  undo() {
    if (this.canUndo) this.place -= 1;
  }
}
