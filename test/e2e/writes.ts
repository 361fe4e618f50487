/** SQL: from now on each committed write into login_record is noted, also one that `on conflict do nothing` makes unseen. */
export const noteWrites = `
  create table public.written (member_id uuid);
  create function public.note_write() returns trigger language plpgsql security definer as
    $$ begin insert into public.written values (new.member_id); return new; end $$;
  create trigger noted before insert on login_record for each row execute function public.note_write()`;

export const noteNoWrites = 'drop function public.note_write cascade; drop table public.written';
