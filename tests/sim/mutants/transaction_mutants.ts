// Owns mutants of transactions at the broker's own door: what was aborted shows, offsets are not committed, messages leave
// their transaction.
// Refuses to own what should catch them. Invariant: see mutant.ts.
import { type Mutant, withFaults } from "./mutant.ts";
import { withMembers } from "../../support/with_members.ts";

const showsAborted: Mutant = {
  name: "aborted-transactions-are-shown",
  fault: "readers are not told which transactions were aborted",
  broken: /I3: the copy/,
  plan: withFaults("kill"),
  transforms: true,
  broker: (broker) =>
    withMembers(broker, {
      fetch: async (at, offset, options) => {
        const { aborted: _, ...fetched } = await broker.fetch(at, offset, options);
        return fetched;
      },
    }),
};

const losesOffsets: Mutant = {
  name: "transactions-lose-their-offsets",
  fault: "a transaction is committed without the offsets of what it read",
  broken: /I3: the copy/,
  plan: withFaults("kill"),
  transforms: true,
  broker: (broker) => {
    const { transactions } = broker;
    const commit: typeof transactions.commit = (transactionId, options) =>
      transactions.commit(transactionId, { ...options, offsets: [] });
    return withMembers(broker, { transactions: withMembers(transactions, { commit }) });
  },
};

const leavesTransaction: Mutant = {
  name: "transactions-are-left-by-their-messages",
  fault: "a message of a transaction is stored outside of it",
  broken: /I3: the copy/,
  plan: withFaults("kill"),
  transforms: true,
  broker: (broker) => {
    const { transactions } = broker;
    const append: typeof transactions.append = async (at, batches, options) => {
      if (batches[0]!.length % 2 === 1) return await transactions.append(at, batches, options);
      return await broker.append(at, batches, { acks: "all" });
    };
    return withMembers(broker, { transactions: withMembers(transactions, { append }) });
  },
};

export const TRANSACTION_MUTANTS: readonly Mutant[] = [
  showsAborted,
  losesOffsets,
  leavesTransaction,
];
