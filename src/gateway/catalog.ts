import type { Sighted } from "../client/backend.js";
import { AegisError, reasonOf } from "../errors.js";
import type { Json } from "../frame/types.js";
import type { Logger } from "../log.js";
import { type CatalogTool, elementsIn, type Offered, readOffers, room } from "./offered.js";
import { refusedAnswer, secondList } from "./one-reading.js";
import type { ServerLink } from "./servers/link.js";

/** Pages a list may have: a server that always names a next cursor must not keep us for ever. */
const MAX_PAGES = 1000;
/** Milliseconds between two looks for a tool that is not in the list. */
const LOOK_AGAIN = 1000;
/** Milliseconds until a backend that could not be told is told again: an allowed call works within 5 s (invariant 10). */
const SIGHT_AGAIN = 500;

/** What of a link a list is read from. */
export type Listed = Pick<ServerLink, "key" | "ready" | "request" | "initialized">;

/** A list that was read, and whether the backend knows of it. */
interface Listing extends Offered {
  readonly sighted: boolean;
}

/**
 * The tools of one server, as one scope sees them; read when first needed, and again when they changed. What was read is
 * pinned at the backend before any of it can be called. A backend that can not be told keeps nobody from calling: it
 * then decides by what it knows. Of what it refuses to pin nothing is offered: no change of it would ever be noticed.
 */
export class Catalog {
  private listing: Promise<Listing> | undefined;
  /** What `listing` resolved with, where the backend knows of it. */
  private loaded: Listing | undefined;
  private loadedAt = 0;
  private unsightedAt: number | undefined;
  /** Elements that were left out of what was pinned last: said once, not with every look. */
  private leftOut = 0;
  /** Tools that policy hides until somebody accepts them, as was heard last. */
  private hidden: ReadonlySet<string> = new Set();

  constructor(
    private readonly link: Listed,
    private readonly sight: (offers: readonly CatalogTool[]) => Promise<Sighted>,
    private readonly log: Logger,
  ) {}

  /** The definitions may have changed: the next look reads them again. */
  invalidate(): void {
    this.listing = undefined;
    this.loaded = undefined;
  }

  /** The tool, where the list is known and pinned, and holds it: most calls need not wait for anything. */
  known(name: string): CatalogTool | undefined {
    return this.loaded?.tools.get(name);
  }

  isHidden(name: string): boolean {
    return this.hidden.has(name);
  }

  /** @throws AegisError server_unavailable */
  async all(): Promise<ReadonlyMap<string, CatalogTool>> {
    return (await this.current()).tools;
  }

  /** A server may add a tool without a word: one that is missing is looked for again, at most once a second. */
  async find(name: string): Promise<CatalogTool | undefined> {
    const found = (await this.all()).get(name);
    if (found !== undefined || performance.now() - this.loadedAt < LOOK_AGAIN) return found;
    this.invalidate();
    return (await this.all()).get(name);
  }

  /**
   * The client is about to be shown this page of the server's list: where it differs from what is known, it is what the
   * server offers now, and is pinned before anybody reads it.
   *
   * @param whole the page is all of the list
   * @returns what is offered now, by name: what of the page is not among it is not pinned, and not to be shown
   */
  async seen(elements: readonly string[], whole: boolean): Promise<ReadonlyMap<string, CatalogTool>> {
    const page = readOffers(elements);
    const before =
      whole && this.listing === undefined ? undefined : await this.current().catch(() => undefined);
    if (before !== undefined && holds(before, page, whole)) return before.tools;
    if (before === undefined) this.loadedAt = performance.now();
    return (await this.begin(this.pin(whole || before === undefined ? page : over(before, page)))).tools;
  }

  /** What was pinned has changed, or the policy. @returns whether other tools are hidden than before */
  async sightAgain(): Promise<boolean> {
    const { listing, hidden } = this;
    const known = await listing?.catch(() => undefined);
    // Meanwhile it may have been read again, and told.
    if (known === undefined || this.listing !== listing) return false;
    const pinned = await this.begin(this.pin(known)).catch(() => undefined);
    if (pinned === undefined) return true;
    return hidden.size !== this.hidden.size || [...hidden].some((name) => !this.hidden.has(name));
  }

  private async current(): Promise<Listing> {
    if (this.listing === undefined) {
      this.loadedAt = performance.now();
      return this.begin(this.load());
    }
    const known = await this.listing;
    if (known.sighted || this.unsightedAt === undefined) return known;
    if (performance.now() - this.unsightedAt < SIGHT_AGAIN) return known;
    this.unsightedAt = performance.now();
    return this.begin(this.pin(known));
  }

  private begin(loading: Promise<Listing>): Promise<Listing> {
    this.listing = loading;
    loading.then(
      (listing) => {
        if (this.listing === loading) this.loaded = listing.sighted ? listing : undefined;
      },
      () => {
        if (this.listing === loading) this.invalidate();
      },
    );
    return loading;
  }

  private async load(): Promise<Listing> {
    // A script that does not wait for the answer of its handshake: what the server can is not known before that.
    await this.link.ready();
    const elements = hasCapability(this.link, "tools") ? await listAll(this.link, "tools/list", "tools") : [];
    return this.pin(readOffers(elements));
  }

  private async pin({ tools, offers, unusable }: Offered): Promise<Listing> {
    const { key } = this.link;
    if (unusable > this.leftOut)
      this.log.warn({ server: key, count: unusable }, "tools that nobody could call or pin were left out");
    this.leftOut = unusable;
    try {
      const sighted = await this.sight(offers);
      this.hidden = new Set(sighted.tools.filter(({ hidden }) => hidden).map(({ name }) => name));
      this.unsightedAt = undefined;
      return { tools, offers, unusable, sighted: true };
    } catch (thrown) {
      this.log.warn({ server: key, reason: reasonOf(thrown) }, "the backend was not told of the tools");
      if (thrown instanceof AegisError && thrown.code === "usage") {
        const message = `No tool of the server ${key} can be used: the backend does not pin them. ${thrown.message}`;
        throw new AegisError("server_unavailable", message, { cause: thrown });
      }
      this.unsightedAt = performance.now();
      return { tools, offers, unusable, sighted: false };
    }
  }
}

/** Whether a page says nothing that is not known. */
function holds(known: Offered, page: Offered, whole: boolean): boolean {
  if (whole && page.offers.length !== known.offers.length) return false;
  const texts = new Set(known.offers.map(({ text }) => text));
  return page.offers.every(({ text }) => texts.has(text));
}

/** The list with what a page says in place of what it said before of the same tools; no more than can be pinned. */
function over(known: Offered, page: Offered): Offered {
  const kept = known.offers.filter(({ name }) => !page.tools.has(name));
  const all = [...kept, ...page.offers];
  const offers = all.filter(room());
  const told = new Set(offers);
  return {
    tools: new Map([...known.tools, ...page.tools].filter(([, tool]) => told.has(tool))),
    offers,
    unusable: Math.max(known.unusable, page.unusable, all.length - offers.length),
  };
}

/**
 * Every element of a paged list of the server, as JSON text.
 *
 * @throws AegisError server_unavailable, also where what it lists can be read in two ways
 */
export async function listAll(link: Listed, method: string, member: string): Promise<string[]> {
  const elements: string[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    await link.ready();
    const params: Json = cursor === undefined ? {} : { cursor };
    const { text, frame } = await link.request(method, params);
    const second = secondList(text, member);
    if (second !== null) throw new AegisError("server_unavailable", refusedAnswer(link.key, method, second));
    elements.push(...elementsIn(text, member));
    const next = (frame.result as Json).nextCursor;
    if (typeof next !== "string") break;
    cursor = next;
  }
  return elements;
}

export function hasCapability(link: Listed, name: string): boolean {
  const capabilities = link.initialized?.capabilities;
  return typeof capabilities === "object" && capabilities !== null && Object.hasOwn(capabilities, name);
}
