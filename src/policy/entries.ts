import type { Named } from "./compile.js";
import { hostLabel, limitLabel } from "./label.js";
import { compareText, inOrder } from "./order.js";
import { compilePattern, ofAction } from "./pattern.js";
import {
  type CountKey,
  countKey,
  type HostRule,
  type Limit,
  type PlacedDataRule,
  type PolicyFile,
} from "./policy.js";

/** What the other parts of a file come to: each speaks of the calls its pattern matches. */
interface Compiled {
  readonly matches: (question: Named) => boolean;
  readonly shadow: boolean;
}

export interface CompiledLimit extends Compiled {
  readonly limit: Limit;
  readonly label: string;
  readonly key: CountKey;
  /** The key as a text. */
  readonly counted: string;
}

export interface CompiledHost extends Compiled {
  readonly host: HostRule;
  readonly label: string;
  readonly matchesHost: (host: string) => boolean;
}

export interface CompiledData extends Compiled {
  readonly data: PlacedDataRule;
}

/** In an order that does not depend on the order of files: which entry is named never varies. */
export function compileEntries(files: readonly PolicyFile[]): {
  readonly limits: readonly CompiledLimit[];
  readonly hosts: readonly CompiledHost[];
  readonly data: readonly CompiledData[];
} {
  return {
    limits: files
      .flatMap((file) => file.limits)
      .toSorted(inOrder)
      .map((limit) => {
        const key = { pattern: limit.pattern, window: "per" in limit.of ? limit.of.per : null };
        return {
          limit,
          label: limitLabel(limit),
          key,
          counted: countKey(key),
          ...common(limit.pattern, limit),
        };
      }),
    hosts: files
      .flatMap((file) => file.hosts)
      .toSorted((a, b) => inOrder(a, b) || compareText(a.host, b.host))
      .map((host) => ({
        host,
        label: hostLabel(host),
        matchesHost: compilePattern(host.host),
        ...common(host.pattern, host),
      })),
    data: files
      .flatMap((file) => file.data)
      .toSorted(inOrder)
      .map((data) => ({ data, ...common(data.action, data) })),
  };
}

function common(pattern: string, { shadow }: { readonly shadow?: true }): Compiled {
  const test = compilePattern(pattern);
  const matches = ofAction(pattern)
    ? (question: Named) => test(question.action)
    : (question: Named) => test(question.tool);
  return { matches, shadow: shadow === true };
}
