// Moving versions: who answers, who challenges, and signing where a person has the last word. Each takes a name and a reason.
import { confirmed } from "./confirming.js";
import { button, call } from "./page.js";

// `models` has list, named() and again().
export class Moving {
  constructor(page, models) {
    this.page = page;
    this.models = models;
  }

  // What may be done with a version as it stands.
  buttons(model) {
    const { word, attempt } = this.page;
    const act = (key, press, disabled = false) => button(word(key), () => attempt(press), { disabled });
    const champion = model.aliases.includes("champion");
    const challenge = act("challenge", () => this.use("challenge", model), champion || model.aliases.includes("challenger"));
    const signs = model.decision?.mode === "approve" && model.decision.promote && !champion && model.standing !== "approved";
    if (!signs) return [act("promote", () => this.use("promote", model), champion), challenge];
    const approve = act("approve", () => this.sign(model, true));
    return model.standing === "waiting" ? [approve, act("refuse", () => this.sign(model, false)), challenge] : [approve, challenge];
  }

  async use(kind, model) {
    const { word, told } = this.page;
    const { version, decision } = model;
    const refused = decision && !decision.promote;
    const lines = [word(`${kind}Meaning`, { version, champion: this.models.named("champion") ?? "–" })];
    if (refused) lines.push(word("gateRefused", { summary: told(decision.summary) }));
    const override = refused ? word("override") : model.standing === "refused" ? word("overrideSigned") : null;
    const said = await this.ask(kind, version, lines, word(kind), override);
    if (!said) return;
    await call("POST", `/v1/models/${version}/${kind}`, { ...said, override: override !== null });
    await this.done(word(`${kind}Done`, { version }));
  }

  // The signature names the decision that was looked at, so that nobody signs for another one.
  async sign(model, approve) {
    const { word, told } = this.page;
    const { version, decision } = model;
    const champion = this.models.named("champion");
    const kind = approve ? "approve" : "refuse";
    const stale = approve && decision.champion !== champion;
    const lines = [word(`${kind}Meaning`, { version, champion: champion ?? "–" }), `${word("gateDecision")}: ${told(decision.summary)}`];
    const agreed = stale ? word("approveStale", { compared: decision.champion ?? "–", champion: champion ?? "–" }) : null;
    const said = await this.ask(kind, version, lines, word(kind), agreed);
    if (!said) return;
    await call("POST", `/v1/models/${version}/approve`, { approve, by: said.by, reason: said.why, seen: model.decision_hash, stale });
    await this.done(word(`${kind}Done`, { version }));
  }

  // Rolling back and withdrawing name no version: the service knows which are meant.
  async moveAlias(kind) {
    const { word } = this.page;
    const version = this.models.named(kind === "rollback" ? "previous" : "challenger") ?? "–";
    const said = await this.ask(kind, version, [word(`${kind}Meaning`, { version })], word(`${kind}Action`));
    if (!said) return;
    await call("POST", `/v1/${kind}`, said);
    await this.done(word(`${kind}Done`, { version }));
  }

  ask(kind, version, lines, action, override = null) {
    const { word, dialog } = this.page;
    return confirmed(dialog, { title: word(`${kind}Title`, { version }), lines, action, override }, word);
  }

  async done(text) {
    this.page.say(text);
    await this.models.again();
  }
}
